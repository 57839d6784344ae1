"""The sketch of a canvas and its draft: drawn first, told to patches where they show something, and costing no page."""

import itertools
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from canvas.grid import Grid, Patch
from canvas.order import ORDERS
from model.canvas import Canvas
from model.generate import Model, PatchDecoder, continue_canvas, sketch_decoder
from model.sampling import Sampling
from model.sketch import (
    CLOSE,
    CLOSER,
    DRAFT_PATCHES,
    WIDE,
    WITHOUT_PROMPT,
    PixelReader,
    SketchReader,
    SketchView,
    draft_grids,
)
from model.sketching import SKETCHES, Sketcher, draw_outline, own_seed
from model.transformer import Transformer
from training.losses import CanvasLoss
from training.sketch_batches import Draft, draft_batch

SAMPLING = Sampling(cfg_scale=2.0)
PROMPT = "snowy mountains at sunset lake"


def start(decoder: PatchDecoder, model: Model, seed: int = 3, **changes: object) -> Canvas:
    grid = Grid(1, 2, 3, model.config.patch_px)
    return decoder.start("job", grid, "zeta", str(changes.get("prompt", PROMPT)), SAMPLING, seed)


def random_view(model: Model) -> SketchView:
    m, px = model.config.transformer.patch_tokens, 2 * model.config.patch_px
    return SketchView(torch.randn(1, model.config.transformer.width, m, m), torch.rand(1, 3, px, px) * 2 - 1)


def test_a_reader_that_has_learned_nothing_tells_nothing(model: Model) -> None:
    reader = SketchReader(32, 4)
    view = reader(torch.randn(2, 16, 32), torch.rand(2, 3, 64, 64))
    steps = torch.tensor(ORDERS["zeta"].token_scan(4))
    place = torch.tensor([[[0.0, 0.5, 0.0, 0.5]]] * 2)
    assert not reader.told(view, place, steps).any()
    sketcher = Sketcher(model.config)
    assert not sketcher.told(torch.tensor([2.0])).any()
    assert not sketcher.follow(view.pixels, place, "zeta").any()


def test_a_patch_is_told_of_the_part_of_the_canvas_where_it_lies(model: Model) -> None:
    """Whatever the scan, a change in one corner of the sketch reaches the tokens of that corner, and no others."""
    m, view = model.config.transformer.patch_tokens, random_view(model)
    cells = view.cells.clone()
    cells[:, :, 0, -1] += 5.0  # top right
    quarters = torch.tensor([[[r, r + 0.5, c, c + 0.5] for r in (0.0, 0.5) for c in (0.0, 0.5)]])
    for order in ORDERS:
        before, after = (model.transformer.sketched(v, quarters, order) for v in (view, replace(view, cells=cells)))
        tokens = (before != after).any(-1)[0]  # [4, M]
        assert tokens.any(1).tolist() == [False, True, False, False]
        steps = model.transformer.scans[order].steps
        assert {(int(r), int(c)) for r, c in steps[tokens[1]]} == {(r, c) for r in range(3) for c in range(1, m)}


def test_a_token_is_told_the_pixels_around_it(model: Model) -> None:
    """A new corner pixel of the draft reaches the tokens near that corner, and none in other patches."""
    m, view = model.config.transformer.patch_tokens, random_view(model)
    pixels = view.pixels.clone()
    pixels[:, :, 0, -1] += 1.0
    quarters = torch.tensor([[[r, r + 0.5, c, c + 0.5] for r in (0.0, 0.5) for c in (0.0, 0.5)]])
    for order in ORDERS:
        before, after = (model.transformer.sketched(v, quarters, order) for v in (view, replace(view, pixels=pixels)))
        tokens = (before != after).any(-1)[0]
        assert tokens.any(1).tolist() == [False, True, False, False]
        reached = {(int(r), int(c)) for r, c in model.transformer.scans[order].steps[tokens[1]]}
        assert (0, m - 1) in reached
        assert all(r <= 1 and c >= m - 2 for r, c in reached)


@pytest.mark.parametrize("close", [CLOSE, CLOSER])
@pytest.mark.parametrize("columns", [2, 64])
def test_colours_are_looked_up_where_they_lie(columns: int, close: tuple[float, ...]) -> None:
    """Of a draft twice as wide as high whose red says how far right, and whose green how far down, a pixel is."""
    reader, px = PixelReader(32, 4, close), 32
    down, across = ((torch.arange(n) + 0.5) / n for n in (px, 2 * px))
    sides = (px, 2 * px)
    pixels = torch.stack([across.expand(sides), down[:, None].expand(sides), torch.zeros(sides)])[None]
    high, wide = 0.5, 1 / columns  # of the patch, around a token in its middle
    place = torch.tensor([[[0.4 - high / 8, 0.4 + high * 7 / 8, 0.6 - wide / 8, 0.6 + wide * 7 / 8]]])
    red, green, _ = reader.colours(pixels, place, torch.tensor([[0, 0]])).view(-1, 3).unbind(1)
    down, right = (torch.tensor(close) * side / 4 for side in (high, wide))  # in sides of a token
    far = torch.tensor(WIDE) / px  # in pixels of the draft
    expected = [*torch.cartesian_prod(0.4 + down, 0.6 + right), *torch.cartesian_prod(0.4 + far, 0.6 + far / 2)]
    assert torch.allclose(torch.stack([green, red], 1), torch.stack(expected), atol=1e-5)


def test_nothing_is_told_to_patches_of_unknown_place(model: Model) -> None:
    place = torch.tensor([[[0.0, 0.5, 0.0, 0.5], [float("nan")] * 4]])
    told = model.transformer.sketched(random_view(model), place, "zeta")[0]
    assert told[0].any()
    assert not told[1].any()


def test_weights_that_know_no_sketch_draw_without(model: Model) -> None:
    plain = replace(model.config, transformer=replace(model.config.transformer, sketch=False))
    transformer = Transformer(plain).eval()
    wanted = transformer.state_dict()
    transformer.load_state_dict({k: v for k, v in model.transformer.state_dict().items() if k in wanted})
    bare = replace(model, config=plain, transformer=transformer)
    canvas = start(PatchDecoder(bare), bare)
    assert canvas.sketch_view is None


def test_models_that_know_no_drafts_are_told_their_sketch_alone(model: Model) -> None:
    plain = replace(model.config, transformer=replace(model.config.transformer, draft=False))
    bare = replace(model, config=plain, transformer=Transformer(plain).eval(), sketcher=Sketcher(plain).eval())
    canvas, px = start(PatchDecoder(bare), bare), model.config.patch_px
    assert canvas.outline is not None
    assert canvas.outline.draft is None
    assert canvas.sketch_view is not None
    assert canvas.sketch_view.pixels.shape == (1, 3, px, px)
    with_draft = start(PatchDecoder(model), model)
    assert with_draft.sketch_view is not None
    assert with_draft.sketch_view.pixels.shape == (1, 3, px, 2 * px), "half of 2 x 3 patches"


def test_each_draft_has_twice_the_sides_of_the_one_before_up_to_half_of_the_canvas() -> None:
    def shapes(rows: int, columns: int) -> list[tuple[int, int]]:
        return [(draft.rows, draft.columns) for draft in draft_grids(Grid(3, rows, columns, 64))]

    assert shapes(1, 1) == shapes(2, 2) == [], "a sketch has half the sides of two by two patches"
    assert shapes(4, 4) == [(2, 2)]
    assert shapes(4, 8) == [(1, 2), (2, 4)]
    assert shapes(8, 3) == [(2, 1), (4, 2)]
    assert shapes(4, 32) == [(1, 2), (1, 4), (1, 8), (2, 16)]
    assert shapes(32, 608) == [(1, 2), (1, 3), (1, 5), (1, 10), (1, 19)], "a larger one would take too long"
    for rows, columns in ((1000, 1), (7, 90), (500, 500)):
        drafts = shapes(rows, columns)
        assert DRAFT_PATCHES / 4 < drafts[-1][0] * drafts[-1][1] <= DRAFT_PATCHES
        for (r, c), (above, right) in itertools.pairwise(drafts):
            assert r <= above <= 2 * r
            assert c <= right <= 2 * c


def test_a_sketch_hangs_on_its_job_alone_and_takes_no_pages(model: Model) -> None:
    decoder = PatchDecoder(model)
    alone = start(decoder, model)
    assert len(decoder.pool) == 0
    beside = PatchDecoder(model)
    other = beside.start("other", Grid(1, 4, 4, model.config.patch_px), "omega", "dunes", SAMPLING, 8)
    beside.decode([(other, Patch(0, 0, 0))])
    again = start(beside, model)
    assert alone.sketch_view is not None
    assert again.sketch_view is not None
    assert torch.equal(alone.sketch_view.cells, again.sketch_view.cells)
    assert torch.equal(alone.sketch_view.pixels, again.sketch_view.pixels)
    for different in (start(decoder, model, seed=4), start(decoder, model, prompt="dunes at night")):
        assert different.sketch_view is not None
        assert not torch.equal(alone.sketch_view.cells, different.sketch_view.cells)


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
        without = decoder._conditions(replace(film, sketch_view=None), patch)
        told = with_sketch - without
        assert told[0].any() == (patch.frame == 0)
        assert torch.allclose(told[1], WITHOUT_PROMPT * told[0], atol=1e-4), "guidance is by the sketch too"


def test_a_sketch_is_of_its_canvass_shape(model: Model) -> None:
    decoder = PatchDecoder(model)
    wide, high = (
        decoder.start("job", Grid(1, rows, columns, model.config.patch_px), "zeta", PROMPT, SAMPLING, 3)
        for rows, columns in ((1, 8), (8, 1))
    )
    assert wide.outline is not None
    assert high.outline is not None
    assert not torch.equal(wide.outline.sketch, high.outline.sketch)


def test_one_pass_is_guided_by_the_sketch_too(model: Model) -> None:
    decoder = PatchDecoder(model)
    canvas = decoder.start(
        "job", Grid(1, 1, 2, model.config.patch_px), "zeta", PROMPT, replace(SAMPLING, distilled=True), 0
    )
    patch = Patch(0, 0, 0)
    told, plain, bare = (
        decoder._conditions(c, patch)[0]
        for c in (canvas, replace(canvas, one_pass=1.0), replace(canvas, sketch_view=None))
    )
    share = (SAMPLING.cfg_scale - 1) / (model.config.transformer.distilled_scale - 1)
    assert torch.allclose(told - plain, share * model.transformer.guidance.sketch(plain - bare), atol=1e-4)


def test_pictures_differ_by_their_sketch_alone(model: Model) -> None:
    decoder = PatchDecoder(model)
    one, other = start(decoder, model), start(decoder, model)
    other.sketch_view = start(decoder, model, seed=9).sketch_view
    other.key = "other"
    for canvas in (one, other):
        for _ in continue_canvas(decoder, canvas):
            pass
    assert not torch.equal(one.tokens, other.tokens)


def likelihood_ratio(model: Model, tokens: torch.Tensor, beside: torch.Tensor) -> torch.Tensor:
    """log p(sketch | PROMPT) / p(sketch) of sketches [n, M], row by row, by one pass over all tokens: [n]."""
    sketcher, m = model.sketcher, model.config.transformer.patch_tokens
    steps = sketcher.scans["zeta"].steps
    scanned = tokens[:, steps[:, 0] * m + steps[:, 1]]
    nats = []
    for prompt in (PROMPT, None):
        logits = sketcher(
            scanned[:, None],
            model.words([prompt]).expand(len(tokens), -1),
            "zeta",
            torch.full((1, 1), -1),
            torch.zeros(1, 3, dtype=torch.long),
            torch.tensor([0.0, 1.0, 0.0, 1.0]).expand(len(tokens), 1, -1),
            beside=beside[:, None].expand(len(tokens), -1, -1, -1),
        )
        nats.append(F.cross_entropy(logits.flatten(0, 2), scanned.flatten(), reduction="none").view(len(tokens), -1))
    return (nats[1] - nats[0]).sum(1)


def watched(decoder: PatchDecoder, monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[Canvas], torch.Tensor]]:
    """What it decodes from now on: canvases, and the tokens [n, M] drawn for them."""
    seen: list[tuple[list[Canvas], torch.Tensor]] = []
    decode = decoder.decode

    def watching(batch: list) -> list[torch.Tensor]:
        drawn = decode(batch)
        seen.append(([canvas for canvas, _ in batch], torch.stack(drawn)))
        return drawn

    monkeypatch.setattr(decoder, "decode", watching)
    return seen


@pytest.mark.parametrize("step", ["auto", "torch"])
def test_of_several_sketches_the_one_that_says_most_of_the_prompt_is_kept(
    model: Model, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder = sketch_decoder(model, step)
    seen = watched(decoder, monkeypatch)
    with torch.inference_mode():
        kept = draw_outline(decoder, "job", Grid(1, 2, 3, model.config.patch_px), PROMPT, SAMPLING, 3).sketch
        canvases, drawn = seen[0]
        expected = likelihood_ratio(model, drawn, model.sketcher.told(torch.tensor([1.5])))
    assert len(drawn) == SKETCHES
    assert {canvas.sampling.cfg_scale for canvas in canvases} == {1.5}, "guided half as much as the patches, with 2"
    said = torch.cat([canvas.said for canvas in canvases])
    assert torch.allclose(said.float(), expected, atol=0.02 * float(expected.abs().max()))
    assert torch.equal(kept.flatten(), drawn[int(expected.argmax())])


@pytest.mark.parametrize(("prompt", "scale"), [(PROMPT, 1.0), (None, 2.0)])
def test_where_no_prompt_guides_there_is_one_sketch(
    model: Model, prompt: str | None, scale: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder = sketch_decoder(model)
    seen = watched(decoder, monkeypatch)
    grid = Grid(1, 2, 3, model.config.patch_px)
    with torch.inference_mode():
        kept = draw_outline(decoder, "job", grid, prompt, Sampling(cfg_scale=scale), 3)
    assert torch.equal(seen[0][1], kept.sketch.view(1, -1))
    assert len(decoder.pool) == 0


@pytest.mark.parametrize("step", ["auto", "torch"])
def test_drafts_are_drawn_each_to_the_one_before(model: Model, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Greedy and without guidance, each token is the likeliest of one pass over the whole draft, told the pixels of the
    sketch, or of the draft before, and the canvas's shape.
    """
    decoder, grid = sketch_decoder(model, step), Grid(1, 3, 6, model.config.patch_px)
    seen = watched(decoder, monkeypatch)
    with torch.inference_mode():
        outline = draw_outline(decoder, "job", grid, PROMPT, Sampling(temperature=0.0), 3)
    assert len(decoder.pool) == 0
    drafts = {id(canvas): canvas for canvases, _ in seen[1:] for canvas in canvases}.values()
    assert [(d.grid.rows, d.grid.columns) for d in drafts] == [(1, 2), (2, 3)]
    losses, before = CanvasLoss(model.sketcher, model.tokenizer, model.words, model.device), None
    for canvas in drafts:
        place = torch.tensor([canvas.place(patch) for patch in canvas.grid])
        told = Draft(canvas.tokens[0], canvas.tokens[0], place, outline.sketch, torch.tensor(2.0), before, None)
        batch = draft_batch([told], canvas.grid.rows, canvas.grid.columns)
        logits, tokens = losses.logits(batch, "zeta", [PROMPT])
        unled = losses.logits(replace(batch, sketches=None), "zeta", [PROMPT])[0]
        drawn = logits.gather(-1, tokens[..., None]).squeeze(-1)
        assert (logits.max(-1).values - drawn).max() < 0.05, "but for near ties: the pool keeps 16 bits"
        assert not torch.allclose(logits, unled, atol=0.1), "what is followed has its say"
        before = canvas.tokens[0]
    assert torch.equal(outline.draft, before)


def test_the_largest_drafts_find_room(model: Model) -> None:
    decoder = sketch_decoder(model)
    for rows, columns in ((16, 16), (4, 64), (256, 1)):
        outline = draw_outline(decoder, "job", Grid(1, rows, columns, model.config.patch_px), PROMPT, SAMPLING, 3)
        assert outline.draft.numel() == DRAFT_PATCHES * model.config.transformer.tokens_per_patch
    assert len(decoder.pool) == 0


def test_a_prompt_is_read_once_for_the_sketch_and_the_patches(model: Model) -> None:
    decoder, read = PatchDecoder(model), []
    first, again = start(decoder, model), start(decoder, model)
    encoder = model.transformer.text.sentence
    for part in decoder.reader.text.sentence.modules():
        if type(part) is type(encoder):
            part.register_forward_hook(lambda module, ids, states: read.append(ids))
    other, back = start(decoder, model, prompt="dunes at night"), start(decoder, model)
    assert len(read) == 2
    assert torch.equal(first.text_keys, again.text_keys)
    assert torch.equal(first.text_keys, back.text_keys)
    assert not torch.equal(first.text_keys, other.text_keys)
