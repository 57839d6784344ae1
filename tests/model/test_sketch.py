"""The sketch of a canvas: drawn first, told to the patches that lie where it shows something, and costing no page."""

from dataclasses import replace

import pytest
import torch

from canvas.grid import Grid, Patch
from canvas.order import ORDERS
from model.canvas import Canvas
from model.generate import Model, PatchDecoder, continue_canvas, sketch_decoder
from model.sampling import Sampling
from model.sketch import SketchReader
from model.sketching import SKETCHES, Sketcher, own_seed, said
from model.transformer import Transformer

SAMPLING = Sampling(cfg_scale=2.0)
PROMPT = "snowy mountains at sunset lake"


def start(decoder: PatchDecoder, model: Model, seed: int = 3, **changes: object) -> Canvas:
    grid = Grid(1, 2, 3, model.config.patch_px)
    return decoder.start("job", grid, "zeta", str(changes.get("prompt", PROMPT)), SAMPLING, seed)


def test_a_reader_that_has_learned_nothing_tells_nothing(model: Model) -> None:
    reader = SketchReader(32, 4)
    cells = reader(torch.randn(2, 16, 32))
    steps = torch.tensor(ORDERS["zeta"].token_scan(4))
    assert not reader.told(cells, torch.tensor([[[0.0, 0.5, 0.0, 0.5]]] * 2), steps).any()
    assert not Sketcher(model.config).told(torch.tensor([2.0])).any()


def test_a_patch_is_told_of_the_part_of_the_canvas_where_it_lies(model: Model) -> None:
    """Whatever the scan, a change in one corner of the sketch reaches the tokens of that corner, and no others."""
    m = model.config.transformer.patch_tokens
    cells = torch.randn(1, model.config.transformer.width, m, m)
    changed = cells.clone()
    changed[:, :, 0, -1] += 5.0  # top right
    quarters = torch.tensor([[[r, r + 0.5, c, c + 0.5] for r in (0.0, 0.5) for c in (0.0, 0.5)]])
    for order in ORDERS:
        before, after = (model.transformer.sketched(c, quarters, order) for c in (cells, changed))
        tokens = (before != after).any(-1)[0]  # [4, M]
        assert tokens.any(1).tolist() == [False, True, False, False]
        steps = model.transformer.scans[order].steps
        assert {(int(r), int(c)) for r, c in steps[tokens[1]]} == {(r, c) for r in range(3) for c in range(1, m)}


def test_nothing_is_told_to_patches_of_unknown_place(model: Model) -> None:
    m = model.config.transformer.patch_tokens
    place = torch.tensor([[[0.0, 0.5, 0.0, 0.5], [float("nan")] * 4]])
    told = model.transformer.sketched(torch.randn(1, model.config.transformer.width, m, m), place, "zeta")[0]
    assert told[0].any()
    assert not told[1].any()


def test_weights_that_know_no_sketch_draw_without(model: Model) -> None:
    plain = replace(model.config, transformer=replace(model.config.transformer, sketch=False))
    transformer = Transformer(plain).eval()
    wanted = transformer.state_dict()
    transformer.load_state_dict({k: v for k, v in model.transformer.state_dict().items() if k in wanted})
    bare = replace(model, config=plain, transformer=transformer)
    canvas = start(PatchDecoder(bare), bare)
    assert canvas.cells is None


def test_a_sketch_hangs_on_its_job_alone_and_takes_no_pages(model: Model) -> None:
    decoder = PatchDecoder(model)
    alone = start(decoder, model)
    assert len(decoder.pool) == 0
    beside = PatchDecoder(model)
    other = beside.start("other", Grid(1, 4, 4, model.config.patch_px), "omega", "dunes", SAMPLING, 8)
    beside.decode([(other, Patch(0, 0, 0))])
    again = start(beside, model)
    assert alone.cells is not None
    assert again.cells is not None
    assert torch.equal(alone.cells, again.cells)
    for different in (start(decoder, model, seed=4), start(decoder, model, prompt="dunes at night")):
        assert different.cells is not None
        assert not torch.equal(alone.cells, different.cells)


def test_seeds_in_a_row_have_no_sketch_in_common() -> None:
    seeds = [own_seed(seed, i) for seed in range(50) for i in range(SKETCHES)]
    assert len(set(seeds)) == len(seeds)
    assert not set(seeds) & set(range(50))


@pytest.mark.parametrize("step", ["auto", "torch"])
def test_every_patch_of_a_still_and_the_first_frame_of_a_film_are_told(model: Model, step: str) -> None:
    decoder = PatchDecoder(model, step=step)
    film = decoder.start("film", Grid(2, 1, 2, model.config.patch_px), "zeta", PROMPT, SAMPLING, 0)
    for patch in film.grid:
        with_sketch = decoder._conditions(film, patch)
        without = decoder._conditions(replace(film, cells=None), patch)
        assert torch.equal(with_sketch[0], without[0]) == (patch.frame == 1)
        assert torch.equal(with_sketch[1], without[1]), "guidance compares with no prompt and no sketch"


def test_a_sketch_is_of_its_canvass_shape(model: Model) -> None:
    decoder = PatchDecoder(model)
    wide, high = (
        decoder.start("job", Grid(1, rows, columns, model.config.patch_px), "zeta", PROMPT, SAMPLING, 3)
        for rows, columns in ((1, 8), (8, 1))
    )
    assert not torch.equal(wide.sketch, high.sketch)


def test_one_pass_is_guided_by_the_sketch_too(model: Model) -> None:
    decoder = PatchDecoder(model)
    canvas = decoder.start(
        "job", Grid(1, 1, 2, model.config.patch_px), "zeta", PROMPT, replace(SAMPLING, distilled=True), 0
    )
    patch = Patch(0, 0, 0)
    told, plain, bare = (
        decoder._conditions(c, patch)[0] for c in (canvas, replace(canvas, one_pass=1.0), replace(canvas, cells=None))
    )
    share = (SAMPLING.cfg_scale - 1) / (model.config.transformer.distilled_scale - 1)
    assert torch.allclose(told - plain, share * model.transformer.guidance.sketch(plain - bare), atol=1e-4)


def test_pictures_differ_by_their_sketch_alone(model: Model) -> None:
    decoder = PatchDecoder(model)
    one, other = start(decoder, model), start(decoder, model)
    other.cells = start(decoder, model, seed=9).cells
    other.key = "other"
    for canvas in (one, other):
        for _ in continue_canvas(decoder, canvas):
            pass
    assert not torch.equal(one.tokens, other.tokens)


def test_of_several_sketches_the_one_that_says_most_of_the_prompt_is_kept(model: Model) -> None:
    decoder, canvas = sketch_decoder(model), start(PatchDecoder(model), model)
    assert canvas.sketch is not None
    others = torch.randint(model.config.tokenizer.codebook_size, (50, len(canvas.sketch)))
    with torch.inference_mode():
        beside = model.sketcher.told(torch.tensor([1.5]))
        all_said = said(decoder, torch.cat([canvas.sketch[None], others]), PROMPT, beside)
        of_itself = said(decoder, canvas.sketch[None], PROMPT, beside)
    assert torch.allclose(all_said[:1], of_itself, atol=1e-3)
    assert all_said[0] > all_said[1:].mean() + all_said[1:].std()
