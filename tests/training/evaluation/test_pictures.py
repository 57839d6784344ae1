"""Many pictures drawn together are those drawn alone, and are not drawn twice."""

from pathlib import Path

import pytest
import torch

from canvas.grid import Extent, Grid
from canvas.order import ORDERS
from model.generate import Model, PatchDecoder, continue_canvas
from training.evaluation.pictures import SERVED, Gallery, decoder_for, draw_together, wavefront


@pytest.mark.parametrize("order", sorted(ORDERS))
def test_no_patch_of_a_round_looks_at_another_of_it(order: str) -> None:
    grid, extent = Grid(1, 3, 5, 32), Extent(0, 1, 1)
    rounds = list(wavefront(grid, ORDERS[order], extent))
    assert sorted(p for patches in rounds for p in patches) == sorted(grid)
    for patches in rounds:
        assert not any(near in patches for p in patches for near in ORDERS[order].nearby(grid, extent, p))


@pytest.mark.parametrize("order", ["zeta", "omega_star"])
def test_drawn_together_is_drawn_alone(model: Model, order: str) -> None:
    grid = Grid(1, 2, 3, model.config.patch_px)
    decoder = decoder_for(model, grid, ORDERS[order], canvases=3, slots=4)
    prompts = ["snowy mountains", None, "mountains"]
    canvases = [decoder.start(str(i), grid, order, p, SERVED, i) for i, p in enumerate(prompts)]
    drawn: list[int] = []
    pixels = draw_together(decoder, canvases, drawn.append)
    assert sum(drawn) == 3 * len(grid)
    assert pixels.shape == (3, 3, grid.height, grid.width)
    assert len(decoder.pool) == 0
    for i, prompt in enumerate(prompts):
        alone = PatchDecoder(model, slots=4)
        canvas = alone.start("alone", grid, order, prompt, SERVED, i)
        for _ in continue_canvas(alone, canvas):
            pass
        assert torch.equal(canvas.tokens, canvases[i].tokens)
        assert torch.equal(model.tokenizer.decode(canvas.tokens)[0], pixels[i])


def test_canvases_of_different_orders_are_refused(model: Model) -> None:
    grid = Grid(1, 2, 2, model.config.patch_px)
    decoder = PatchDecoder(model)
    canvases = [decoder.start(order, grid, order, None, SERVED, 0) for order in ("zeta", "omega")]
    with pytest.raises(ValueError, match="one order"):
        draw_together(decoder, canvases)


def test_what_is_there_is_not_drawn_again(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Gallery(model, tmp_path, slots=4).draw("test", ["mountains", "snowy"], 70, 40)
    assert first.shape == (2, 3, 40, 70)
    assert first.dtype == torch.uint8
    sorted(tmp_path.rglob("*.png"))[1].unlink()  # as if interrupted there
    more = Gallery(model, tmp_path, slots=4)
    seen: list[str | None] = []
    start = PatchDecoder.start

    def watched(decoder: PatchDecoder, key: str, grid: Grid, order: str, prompt: str | None, *rest: object) -> object:
        seen.append(prompt)
        return start(decoder, key, grid, order, prompt, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(PatchDecoder, "start", watched)
    again = more.draw("test", ["mountains", "snowy"], 70, 40)
    assert seen == ["snowy"]
    assert torch.equal(first, again)
    more.draw("test", ["mountains", "snowy"], 70, 40, seed=5)
    assert seen == ["snowy", "mountains", "snowy"]
