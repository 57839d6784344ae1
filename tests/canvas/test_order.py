"""Tests of orders against brute force: sequence and rank, Select and its inverse, last use, the ready set."""

from itertools import pairwise, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from canvas.grid import Extent, Grid, Patch
from canvas.order import OMEGA, OMEGA_STAR, ORDERS, ZETA, ZETA_STAR, Order, order_named, ready

# All eight: two axis priorities, two signs each; the four basic ones are among them.
EIGHT = [
    Order(f"{axes[0]}{row_sign:+}{column_sign:+}", axes, row_sign, column_sign)
    for axes, row_sign, column_sign in product((("row", "column"), ("column", "row")), (1, -1), (1, -1))
]
grids = st.builds(Grid, st.integers(1, 3), st.integers(1, 5), st.integers(1, 5), st.just(8))
extents = st.builds(Extent, st.integers(0, 2), st.integers(0, 3), st.integers(0, 3))
orders = st.sampled_from(EIGHT)
quick = settings(max_examples=60, deadline=None)


def in_window(extent: Extent, a: Patch, b: Patch) -> bool:
    return (
        abs(a.frame - b.frame) <= extent.frames
        and abs(a.row - b.row) <= extent.rows
        and abs(a.column - b.column) <= extent.columns
    )


def brute_nearby(grid: Grid, order: Order, extent: Extent) -> dict[Patch, list[Patch]]:
    """Select read off the written-out sequence: what came before, in the window."""
    lists: dict[Patch, list[Patch]] = {}
    drawn: list[Patch] = []
    for patch in order.sequence(grid):
        lists[patch] = [other for other in sorted(drawn) if in_window(extent, other, patch)]
        drawn.append(patch)
    return lists


@pytest.mark.parametrize(
    ("order", "numerals"),
    [
        (OMEGA, [[0, 2, 4], [1, 3, 5]]),
        (OMEGA_STAR, [[5, 3, 1], [4, 2, 0]]),
        (ZETA, [[0, 1, 2], [3, 4, 5]]),
        (ZETA_STAR, [[5, 4, 3], [2, 1, 0]]),
    ],
)
def test_basic_orders_number_the_patches_as_in_the_papers_table(order: Order, numerals: list[list[int]]) -> None:
    grid = Grid(frames=2, rows=2, columns=3, patch_px=8)
    for frame in range(2):
        ranks = [[order.rank(grid, Patch(frame, row, column)) for column in range(3)] for row in range(2)]
        assert ranks == [[6 * frame + number for number in line] for line in numerals]
    assert [[order.token_scan(2).index((row, column)) for column in range(2)] for row in range(2)] == {
        "omega": [[0, 2], [1, 3]],
        "omega_star": [[3, 1], [2, 0]],
        "zeta": [[0, 1], [2, 3]],
        "zeta_star": [[3, 2], [1, 0]],
    }[order.name]


@quick
@given(grids, orders)
def test_sequence_is_a_permutation_that_rank_counts(grid: Grid, order: Order) -> None:
    sequence = list(order.sequence(grid))
    assert sorted(sequence) == list(grid)
    assert [order.rank(grid, patch) for patch in sequence] == list(range(len(grid)))


@quick
@given(grids, orders)
def test_frames_only_go_forward(grid: Grid, order: Order) -> None:
    frames = [patch.frame for patch in order.sequence(grid)]
    assert frames == sorted(frames)


@quick
@given(grids, orders)
def test_precedes_agrees_with_rank(grid: Grid, order: Order) -> None:
    for a, b in product(grid, repeat=2):
        assert order.precedes(a, b) == (order.rank(grid, a) < order.rank(grid, b))


@quick
@given(st.integers(1, 9), orders)
def test_tokens_are_scanned_like_the_patches_of_a_square(m: int, order: Order) -> None:
    scan = order.token_scan(m)
    assert sorted(scan) == list(product(range(m), repeat=2))
    patches = [Patch(0, row, column) for row, column in scan]
    assert all(order.precedes(a, b) for a, b in pairwise(patches))


@quick
@given(grids, orders, extents)
def test_nearby_is_the_window_cut_to_what_was_drawn_before(grid: Grid, order: Order, extent: Extent) -> None:
    for patch, expected in brute_nearby(grid, order, extent).items():
        nearby = order.nearby(grid, extent, patch)
        assert list(nearby) == expected
        assert len(nearby) <= extent.max_nearby


@pytest.mark.parametrize("order", EIGHT, ids=lambda order: order.name)
def test_max_nearby_is_reached_on_a_canvas_large_enough(order: Order) -> None:
    extent = Extent(1, 1, 2)
    assert len(order.nearby(Grid(2, 3, 5, 8), extent, Patch(1, 1, 2))) == extent.max_nearby


def test_row_order_sees_left_and_the_three_above_in_index_order() -> None:
    nearby = ZETA.nearby(Grid(1, 3, 3, 8), Extent(), Patch(0, 1, 1))
    assert nearby == (Patch(0, 0, 0), Patch(0, 0, 1), Patch(0, 0, 2), Patch(0, 1, 0))


@quick
@given(grids, orders, extents)
def test_dependants_are_the_inverse_of_nearby(grid: Grid, order: Order, extent: Extent) -> None:
    selects = brute_nearby(grid, order, extent)
    for patch in grid:
        assert list(order.dependants(grid, extent, patch)) == [other for other in grid if patch in selects[other]]


@quick
@given(grids, orders, extents)
def test_last_use_is_the_last_patch_by_rank_that_selects_it(grid: Grid, order: Order, extent: Extent) -> None:
    selects = brute_nearby(grid, order, extent)
    for patch in grid:
        users = [other for other in order.sequence(grid) if patch in selects[other]]
        assert order.last_use(grid, extent, patch) == (users[-1] if users else patch)


@quick
@given(grids, extents, st.sampled_from([(OMEGA, OMEGA_STAR), (ZETA, ZETA_STAR)]))
def test_star_seen_in_a_rotated_canvas_selects_the_same_patches(
    grid: Grid, extent: Extent, pair: tuple[Order, Order]
) -> None:
    def rotated(patch: Patch) -> Patch:  # by 180 degrees
        return Patch(patch.frame, grid.rows - 1 - patch.row, grid.columns - 1 - patch.column)

    plain, star = pair
    for patch in grid:
        turned = {rotated(near) for near in star.nearby(grid, extent, rotated(patch))}
        assert turned == set(plain.nearby(grid, extent, patch))


@quick
@given(orders, extents, st.integers(0, 2), st.integers(0, 3), st.integers(0, 3))
def test_shifting_and_widening_the_canvas_keeps_the_offsets_of_inner_patches(
    order: Order, extent: Extent, frames: int, rows: int, columns: int
) -> None:
    def offsets(grid: Grid, patch: Patch) -> list[tuple[int, ...]]:
        return [tuple(n - p for n, p in zip(near, patch, strict=True)) for near in order.nearby(grid, extent, patch)]

    inner = Patch(extent.frames, extent.rows, extent.columns)  # the only patch no border clips
    tight = Grid(extent.frames + 1, 2 * extent.rows + 1, 2 * extent.columns + 1, 8)
    wide = Grid(tight.frames + frames, tight.rows + 2 * rows, tight.columns + 2 * columns, 8)
    moved = Patch(inner.frame + frames, inner.row + rows, inner.column + columns)
    assert offsets(tight, inner) == offsets(wide, moved)
    assert len(offsets(wide, moved)) == extent.max_nearby


@quick
@given(grids, orders, extents, st.data())
def test_ready_is_what_is_not_done_and_misses_nothing(
    grid: Grid, order: Order, extent: Extent, data: st.DataObject
) -> None:
    done = data.draw(st.sets(st.sampled_from(list(grid))))
    selects = brute_nearby(grid, order, extent)
    expected = [patch for patch in order.sequence(grid) if patch not in done and done.issuperset(selects[patch])]
    assert ready(grid, order, extent, done) == ready(grid, order, extent, list(done)) == expected


def test_ready_ends_with_an_empty_list() -> None:
    grid = Grid(1, 2, 2, 8)
    assert ready(grid, OMEGA, Extent(), list(grid)) == []
    assert ready(grid, OMEGA_STAR, Extent(), ()) == [Patch(0, 1, 1)]


def test_every_question_about_a_patch_outside_the_grid_is_refused() -> None:
    grid, outside = Grid(1, 2, 3, 8), Patch(0, 2, 0)
    questions = [
        lambda: OMEGA.rank(grid, outside),
        lambda: OMEGA.nearby(grid, Extent(), outside),
        lambda: OMEGA.dependants(grid, Extent(), outside),
        lambda: OMEGA.last_use(grid, Extent(), outside),
        lambda: ready(grid, OMEGA, Extent(), [outside]),
    ]
    for ask in questions:
        with pytest.raises(ValueError, match=r"not in the grid .*row 0\.\.1"):
            ask()


def test_orders_are_found_by_name_and_unknown_names_are_refused() -> None:
    assert {name: order.name for name, order in ORDERS.items()} == {name: name for name in ORDERS}
    assert order_named("omega_star") is OMEGA_STAR
    with pytest.raises(ValueError, match=r"^order must be one of omega, omega_star, zeta, zeta_star, got 'sigma'"):
        order_named("sigma")


def test_order_refuses_axes_and_signs_that_are_none() -> None:
    with pytest.raises(ValueError, match=r"^axes must be row and column"):
        Order("twice", ("row", "row"), 1, 1)
    with pytest.raises(ValueError, match=r"^column_sign must be 1 or -1, got 0"):
        Order("still", ("row", "column"), 1, 0)  # type: ignore[arg-type]


def test_token_scan_refuses_a_patch_without_tokens() -> None:
    with pytest.raises(ValueError, match="at least 1, got 0"):
        ZETA.token_scan(0)
