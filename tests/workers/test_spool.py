"""The spool: patches in any order in, rows out; memory and files."""

import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from canvas.controller import Layout, lay_out
from canvas.grid import Box, Patch
from canvas.order import ORDERS
from workers.spool import PatchSpool

LAYOUTS = {
    "whole patches": lay_out(64, 32, 16),
    "cropped": lay_out(50, 20, 16),
    "begins inside a patch": lay_out(50, 35, 16, Box(0, 10, 21, 35)),
    "a film": lay_out(33, 20, 16, frames=3),
}


def fill(spool: PatchSpool, layout: Layout, order: str) -> np.ndarray:
    """Every patch in this order, each cut from random frames; the frames [F, H, W, 3] as they lie in the picture."""
    grid, (x, y) = layout.grid, layout.origin
    frames = np.random.default_rng(0).integers(0, 256, (grid.frames, grid.height, grid.width, 3), dtype=np.uint8)
    for patch in ORDERS[order].sequence(grid):
        left, top, right, bottom = grid.box(patch)
        spool.place(patch, spool.crop(patch, frames[patch.frame, top:bottom, left:right]))
    return frames[:, y : y + layout.height, x : x + layout.width]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_patches_of_every_order_become_the_same_rows(layout: Layout, order: str, tmp_path: Path) -> None:
    spool = PatchSpool(layout, tmp_path)
    for number, frame in enumerate(fill(spool, layout, order)):
        assert np.array_equal(spool.frame(number), frame)
        assert np.array_equal(np.concatenate(list(spool.bands(number))), frame)
    spool.close()


def test_a_patch_that_is_placed_again_replaces_its_pixels(tmp_path: Path) -> None:
    layout = LAYOUTS["cropped"]
    spool = PatchSpool(layout, tmp_path)
    expected = fill(spool, layout, "zeta")[0].copy()
    spool.place(Patch(0, 1, 3), np.full((4, 2, 3), 7, np.uint8))
    expected[16:, 48:] = 7
    assert np.array_equal(spool.frame(), expected)
    spool.close()


def test_what_was_not_placed_is_black(tmp_path: Path) -> None:
    spool = PatchSpool(LAYOUTS["cropped"], tmp_path)
    assert spool.frame().shape == (20, 50, 3)
    assert not spool.frame().any()
    spool.close()


def test_pixels_that_do_not_fill_the_patchs_box_are_refused(tmp_path: Path) -> None:
    spool = PatchSpool(LAYOUTS["cropped"], tmp_path)
    with pytest.raises(ValueError, match="takes 4x2 pixels"):
        spool.place(Patch(0, 1, 3), np.zeros((16, 16, 3), np.uint8))


def test_forgotten_frames_leave_no_files_and_no_names_behind(tmp_path: Path) -> None:
    layout = LAYOUTS["a film"]
    before = len(os.listdir("/proc/self/fd"))
    spool = PatchSpool(layout, tmp_path)
    fill(spool, layout, "omega")
    assert len(os.listdir("/proc/self/fd")) == before + 3
    assert not any(tmp_path.iterdir()), "a worker that is killed leaves nothing"
    spool.forget(0)
    spool.forget(0)
    assert len(os.listdir("/proc/self/fd")) == before + 2
    assert spool.frame(1).any()
    spool.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_wide_picture_column_by_column_takes_little_memory(tmp_path: Path) -> None:
    layout = lay_out(38_912, 256, 64)
    spool, patch_pixels = PatchSpool(layout, tmp_path), np.full((64, 64, 3), 9, np.uint8)
    *patches, last = ORDERS["omega"].sequence(layout.grid)
    for patch in patches:
        spool.place(patch, patch_pixels)
    tracemalloc.start()
    spool.place(last, patch_pixels)
    rows = sum(len(band) for band in spool.bands() if (band == 9).all())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    spool.close()
    assert rows == 256
    assert peak < 6e6, "the picture is 30 MB"
