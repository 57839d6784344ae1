"""What a canvas with known pixels begins with: a sketch that goes on from them, drafts drawn around them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from canvas.controller import Layout, choose_orders, lay_out, plan_task
from canvas.grid import Box, Grid
from canvas.order import ORDERS
from canvas.plan import Plan
from model.canvas import Canvas
from model.generate import Model, PatchDecoder, sketch_decoder
from model.known import known_tokens
from model.known_outline import KnownWhole, Squeezed, has_gaps
from model.pixels import sketch_pixels
from model.sampling import Sampling
from model.sketch import Outline
from model.sketching import draw_outline

SAMPLING = Sampling(cfg_scale=2.0)
GRID = Grid(1, 4, 8, 32)
GIVEN = Box(96, 0, 192, 128)


class Landscape:
    """Sky above, land below, and known inside a box."""

    def __init__(self, box: Box = GIVEN, noise: float = 0.0) -> None:
        self.box = box
        shades = np.random.default_rng(1).normal(0, 1, (128, 256, 3)) * noise
        self.pixels = (np.full((128, 256, 3), (60, 120, 220)) + shades).clip(0, 255).astype(np.uint8)
        self.pixels[64:] = (40, 140, 60)

    def window(self, frame: int, box: Box) -> tuple[np.ndarray, np.ndarray]:
        rows, columns = np.arange(box.top, box.bottom), np.arange(box.left, box.right)
        left, top, right, bottom = self.box
        inside = ((rows >= top) & (rows < bottom))[:, None] & (columns >= left) & (columns < right) & (frame == 0)
        return self.pixels[rows.clip(0, 127)[:, None], columns.clip(0, 255)], inside


def plan_of(layout: Layout, decoder: PatchDecoder) -> Plan:
    return plan_task(layout, decoder.extent, choose_orders(layout, decoder.extent, list(ORDERS)))


def colours(*rgb: int) -> Tensor:
    return torch.tensor(rgb)[:, None, None] / 127.5 - 1


def test_sky_and_land_go_on_beyond_what_is_known() -> None:
    continued = KnownWhole(Landscape(), GRID).continued()
    height, width = continued.shape[1:]
    assert width == 2 * height
    for side in (continued[:, :, : width // 4], continued[:, :, -width // 8 :]):
        for part, colour in ((side[:, : height // 4], (60, 120, 220)), (side[:, -height // 4 :], (40, 140, 60))):
            assert (part - colours(*colour)).abs().max() < 0.05


def test_what_is_known_stays_and_what_is_far_is_calm() -> None:
    whole = KnownWhole(Landscape(noise=60.0), GRID)
    continued = whole.continued()
    pixels, known = whole.at(*continued.shape[1:])
    assert torch.equal(continued[:, known], pixels[:, known])

    def roughness(part: Tensor) -> float:
        return float(part.diff(dim=1).abs().mean())

    top, width = continued[:, : continued.shape[1] // 3], continued.shape[2]
    assert roughness(top[:, :, -width // 8 :]) < roughness(top[:, :, : width // 2]) / 4


def test_a_large_canvas_is_read_squeezed() -> None:
    class Far(Landscape):
        def window(self, frame: int, box: Box) -> tuple[np.ndarray, np.ndarray]:
            shape = box.bottom - box.top, box.right - box.left
            return np.full((*shape, 3), 200, np.uint8), np.ones(shape, np.bool_)

    pixels, known = KnownWhole(Far(), Grid(1, 32, 100, 64)).at(64, 128)
    assert known.all()
    torch.testing.assert_close(pixels, torch.full((3, 64, 128), 200 / 127.5 - 1))
    assert KnownWhole(Far(), Grid(1, 32, 100, 64))._sums[0].numel() <= 1 << 21


def test_beyond_known_pixels_a_draft_is_seen_as_what_it_follows() -> None:
    followed = torch.full((1, 3, 32, 32), -1.0)
    squeezed = Squeezed(KnownWhole(Landscape(), GRID), Grid(1, 2, 4, 32), followed)
    pixels, known = squeezed.window(0, Box(-8, -8, 136, 72))
    assert known.sum() == 64 * 48
    assert np.array_equal(np.argwhere(known)[[0, -1]], [[8, 56], [71, 103]])
    assert (pixels[8:72][~known[8:72]] == 0).all()
    assert (pixels[:8, 56:104] == (60, 120, 220)).all(), "beyond the draft its outermost pixels go on"
    assert (pixels[8:40, 56:104] == (60, 120, 220)).all()


@pytest.mark.parametrize("step", ["auto", "torch"])
def test_drafts_keep_the_known_tokens_and_draw_the_others(model: Model, step: str) -> None:
    decoder, whole = sketch_decoder(model, step), KnownWhole(Landscape(noise=30.0), GRID)

    def outline(seed: int) -> Outline:
        with torch.inference_mode():
            return draw_outline(decoder, "job", GRID, "lake", SAMPLING, seed, whole)

    first, again, other = outline(1), outline(1), outline(2)
    assert first.draft is not None
    assert other.draft is not None
    assert torch.equal(first.draft, again.draft)  # type: ignore[arg-type]
    assert torch.equal(first.sketch, other.sketch), "the sketch goes on from what is known, whatever the seed"
    squeezed = F.adaptive_avg_pool2d(whole.continued(), (32, 32))
    assert torch.equal(first.sketch, model.tokenizer.encode(squeezed[None])[0])
    assert len(decoder.pool) == 0
    known = Squeezed(whole, Grid(1, 2, 4, 32), torch.zeros(1, 3, 64, 64))
    _, fixed = known_tokens(model.tokenizer, known, 0, Box(0, 0, 128, 64))
    assert fixed.sum() == 6 * 8
    assert torch.equal(first.draft[:, 8:10], other.draft[:, 8:10]), "tokens that see nothing but known pixels"
    assert not torch.equal(first.draft[~fixed], other.draft[~fixed])


def test_where_nothing_is_left_of_what_was_given_the_sketch_is_drawn(model: Model) -> None:
    decoder, nothing = sketch_decoder(model), KnownWhole(Landscape(Box(0, 0, 0, 0)), GRID)
    with torch.inference_mode():
        free, painted_over = (
            draw_outline(decoder, "job", GRID, "lake", SAMPLING, 1, known) for known in (None, nothing)
        )
    assert torch.equal(free.sketch, painted_over.sketch)
    assert torch.equal(free.draft, painted_over.draft)  # type: ignore[arg-type]


def test_a_few_known_pixels_colour_all_of_the_sketch() -> None:
    continued = KnownWhole(Landscape(Box(0, 0, 3, 2)), Grid(1, 40, 80, 32)).continued()
    torch.testing.assert_close(continued, colours(60, 120, 220).expand_as(continued))


def started(decoder: PatchDecoder, layout: Layout, known: Landscape) -> Canvas:
    return decoder.start_plan("job", plan_of(layout, decoder), "lake", SAMPLING, 3, known)


def test_a_picture_that_is_extended_begins_with_drafts_and_a_film_from_a_given_frame_does_not(model: Model) -> None:
    decoder = PatchDecoder(model)
    extended = started(decoder, lay_out(256, 128, 32, GIVEN), Landscape())
    assert extended.outline is not None
    assert extended.outline.draft is not None
    assert extended.outline.draft.shape == (8, 16)
    assert sketch_pixels(decoder, extended) is None, "known pixels show better what it is to become"
    film = started(decoder, lay_out(256, 128, 32, Box(0, 0, 256, 128), frames=3), Landscape(Box(0, 0, 256, 128)))
    assert film.outline is None
    assert not has_gaps(plan_of(lay_out(32, 64, 32, Box(0, 0, 32, 32)), decoder)), "so small that it has no draft"


def test_without_drafts_nothing_is_told_of_a_picture_that_is_extended(model: Model) -> None:
    decoder = PatchDecoder(model)
    decoder.config = replace(decoder.config, draft=False)
    assert started(decoder, lay_out(256, 128, 32, GIVEN), Landscape()).outline is None
