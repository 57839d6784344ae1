"""Tests of the division of a canvas: indices, pixel boxes, ceiling grids, extents, refusals."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from canvas.grid import Box, Extent, Grid, Patch

grids = st.builds(Grid, st.integers(1, 3), st.integers(1, 5), st.integers(1, 5), st.integers(1, 64))
quick = settings(max_examples=100, deadline=None)


@quick
@given(grids)
def test_index_and_patch_are_inverse_and_iteration_goes_by_index(grid: Grid) -> None:
    patches = list(grid)
    assert len(patches) == len(grid) == grid.frames * grid.rows * grid.columns
    assert [grid.index(patch) for patch in patches] == list(range(len(grid)))
    assert [grid.patch(index) for index in range(len(grid))] == patches
    assert patches == sorted(patches)  # frame-major, then row, then column


@quick
@given(grids)
def test_boxes_of_a_frame_tile_it_without_gap_or_overlap(grid: Grid) -> None:
    boxes = [grid.box(patch) for patch in grid if patch.frame == 0]
    corners = {(x, y) for x in range(0, grid.width, grid.patch_px) for y in range(0, grid.height, grid.patch_px)}
    assert {(box.left, box.top) for box in boxes} == corners
    assert all(box.right - box.left == box.bottom - box.top == grid.patch_px for box in boxes)
    assert max(box.right for box in boxes) == grid.width
    assert max(box.bottom for box in boxes) == grid.height


def test_box_is_left_top_right_bottom_in_pixels() -> None:
    assert Grid(1, 4, 8, 64).box(Patch(0, 1, 2)) == Box(left=128, top=64, right=192, bottom=128)


@quick
@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 300))
def test_grid_from_pixels_is_the_smallest_that_covers_them(width: int, height: int, patch_px: int) -> None:
    grid = Grid.from_pixels(width, height, patch_px)
    assert grid.width - patch_px < width <= grid.width
    assert grid.height - patch_px < height <= grid.height
    assert grid.frames == 1


def test_grid_from_pixels_keeps_the_number_of_frames() -> None:
    assert Grid.from_pixels(512, 256, 64, frames=5) == Grid(frames=5, rows=4, columns=8, patch_px=64)


@pytest.mark.parametrize(
    ("extent", "most"),
    [(Extent(0, 1, 1), 4), (Extent(0, 2, 2), 12), (Extent(1, 1, 1), 13), (Extent(2, 2, 2), 62), (Extent(0, 0, 0), 0)],
)
def test_max_nearby_is_the_papers(extent: Extent, most: int) -> None:
    assert extent.max_nearby == most


def test_extent_looks_one_row_and_column_away_unless_told() -> None:
    assert Extent() == Extent(frames=0, rows=1, columns=1)


@pytest.mark.parametrize("field", ["frames", "rows", "columns", "patch_px"])
@pytest.mark.parametrize("value", [0, -1, 2.5, float("nan"), True, "3", None])
def test_grid_refuses_a_size_that_is_not_a_positive_whole_number(field: str, value: object) -> None:
    sizes = {"frames": 1, "rows": 1, "columns": 1, "patch_px": 1} | {field: value}
    with pytest.raises(ValueError, match=f"^{field} must be a whole number of at least 1, got"):
        Grid(**sizes)  # type: ignore[arg-type]


@pytest.mark.parametrize("field", ["width", "height", "patch_px", "frames"])
@pytest.mark.parametrize("value", [0, -512, float("nan")])
def test_grid_from_pixels_names_the_size_it_refuses(field: str, value: int) -> None:
    sizes = {"width": 512, "height": 256, "patch_px": 64, "frames": 1} | {field: value}
    with pytest.raises(ValueError, match=f"^{field} must be a whole number of at least 1, got"):
        Grid.from_pixels(**sizes)


@pytest.mark.parametrize("field", ["frames", "rows", "columns"])
def test_extent_refuses_a_negative_reach(field: str) -> None:
    with pytest.raises(ValueError, match=f"^{field} must be a whole number of at least 0, got -1"):
        Extent(**{field: -1})


@pytest.mark.parametrize("outside", [Patch(1, 0, 0), Patch(0, 2, 0), Patch(0, 0, 3), Patch(0, -1, 0), Patch(0, 0, -1)])
def test_grid_refuses_a_patch_outside_and_names_its_limits(outside: Patch) -> None:
    grid = Grid(frames=1, rows=2, columns=3, patch_px=8)
    assert outside not in grid
    for use in (grid.index, grid.box):
        with pytest.raises(ValueError, match=r"not in the grid \(frame 0\.\.0, row 0\.\.1, column 0\.\.2\)"):
            use(outside)


@pytest.mark.parametrize("index", [-1, 6])
def test_grid_refuses_an_index_outside_and_names_the_limit(index: int) -> None:
    with pytest.raises(ValueError, match=r"^index must be in 0\.\.5"):
        Grid(frames=1, rows=2, columns=3, patch_px=8).patch(index)
