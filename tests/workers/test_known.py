"""Given pixels on a grid: what is known stays, and what is drawn anew is seen by nobody."""

from typing import Any

import numpy as np
import pytest

from canvas.controller import lay_out
from canvas.grid import Box
from workers.filling import AROUND_PX, GREY, filled
from workers.known import KnownPixels
from workers.torch_engine import TorchEngine

WHOLE, HOLE = Box(0, 0, 70, 45), Box(20, 10, 45, 30)


def pictures(gone: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two that differ where they are gone alone."""
    dice = np.random.default_rng(1)
    one, other = (dice.integers(0, 256, (45, 70, 3), dtype=np.uint8) for _ in range(2))
    return one, np.where(gone[..., None], other, one)


def in_hole() -> np.ndarray:
    gone = np.zeros((45, 70), np.bool_)
    gone[HOLE.top : HOLE.bottom, HOLE.left : HOLE.right] = True
    return gone


@pytest.mark.parametrize("masked", [False, True])
def test_what_is_drawn_anew_is_not_to_be_seen_in_any_window(masked: bool) -> None:
    layout, mask = lay_out(70, 45, 16, WHOLE, HOLE), None
    gone = in_hole()
    if masked:
        mask = gone = gone & (np.random.default_rng(2).random((45, 70)) < 0.5)
    one, other = (KnownPixels(pixels, layout, mask) for pixels in pictures(gone))
    box = Box(-20, -20, 100, 80)
    (seen, known), (again, _) = one.window(0, box), other.window(0, box)
    assert np.array_equal(seen, again)
    assert np.array_equal(known[20:65, 20:90], ~gone)
    assert np.array_equal(seen[20:65, 20:90][~gone], pictures(gone)[0][~gone])


@pytest.mark.anyio
async def test_the_picture_is_the_same_whatever_lies_under_the_mask(bench: Any, weights: Any) -> None:
    mask = np.zeros((45, 70), np.bool_)
    mask[5:30, 12:40] = True
    results = []
    for name, pixels in zip("ab", pictures(mask), strict=True):
        job = bench.extended(name, mask=mask, seed=5, patch_px=32, model="nano", prompt="snowy lake")
        bench.given[name] = pixels
        results.append(await bench.alone(job, TorchEngine(weights, slots=2, pages=64, device="cpu")))
    assert results[0] == results[1]


def test_pixels_that_are_filled_in_are_like_those_beside_them() -> None:
    """A sky that grows lighter downwards, with a black bird in it."""
    sky = np.repeat(np.linspace(100, 200, 64).astype(np.uint8)[:, None, None], 80, 1).repeat(3, 2)
    gone = np.zeros((64, 80), np.bool_)
    gone[20:37, 31:48] = True
    bird = np.where(gone[..., None], np.uint8(0), sky)
    difference = np.abs(filled(bird, gone).astype(int) - sky)
    assert difference[~gone].max() == 0
    assert difference.max() < 25
    edge = gone & ~np.roll(gone, 1, 1)
    assert difference[edge].max() <= 6, "beside known pixels it is nearly theirs"


def test_beside_the_border_of_a_large_hole_pixels_are_like_those_across_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in one that is filled in piece by piece, and grey far from all that is known."""
    across, down = np.meshgrid(np.arange(300), np.arange(260))
    slope = np.stack([across // 2, down // 2, (across + down) // 4], 2).astype(np.uint8)
    gone = np.zeros((260, 300), np.bool_)
    gone[64:, 64:] = True
    whole = filled(slope, gone)
    beside = [(whole[64, 65:], slope[63, 65:]), (whole[65:200, 64], slope[65:200, 63])]
    assert all(np.array_equal(made, known) for made, known in beside)
    monkeypatch.setattr("workers.filling.TILE_PX", 50)
    pieces = filled(slope, gone)
    near = np.s_[64 : 64 + AROUND_PX, 64:]
    assert np.array_equal(pieces[near], whole[near])
    assert (pieces[180, 250] == GREY).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 1), (9, 13)])
def test_where_nothing_is_known_all_is_grey(shape: tuple[int, int]) -> None:
    pixels = np.zeros((*shape, 3), np.uint8)
    assert np.all(filled(pixels, np.ones(shape, np.bool_)) == GREY)
    assert np.array_equal(filled(pixels, np.zeros(shape, np.bool_)), pixels)
