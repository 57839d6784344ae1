"""Tests of plans: rounds and pool pages against simulation and the paper's table, phases, the choice of an order."""

from itertools import product
from time import perf_counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from canvas.grid import Extent, Grid, Patch
from canvas.order import OMEGA, OMEGA_STAR, ORDERS, ZETA, ZETA_STAR, Order, ready
from canvas.plan import Phase, Plan, Region, choose_order, compile_plan

EIGHT = [
    Order(f"{axes[0]}{row_sign:+}{column_sign:+}", axes, row_sign, column_sign)
    for axes, row_sign, column_sign in product((("row", "column"), ("column", "row")), (1, -1), (1, -1))
]
grids = st.builds(Grid, st.integers(1, 3), st.integers(1, 5), st.integers(1, 5), st.just(8))
extents = st.builds(Extent, st.integers(0, 3), st.integers(0, 5), st.integers(0, 5))
orders = st.sampled_from(EIGHT)
quick = settings(max_examples=60, deadline=None)


def simulated_pages(grid: Grid, order: Order, extent: Extent, rounds: list[list[Patch]]) -> int:
    """The most pages held when each round adds all its patches and then removes those that nobody will select again."""
    users = {patch: set(order.dependants(grid, extent, patch)) for patch in grid}
    held: set[Patch] = set()
    most = 0
    for patches in rounds:
        for patch in patches:
            assert held.issuperset(order.nearby(grid, extent, patch))
        held.update(patches)
        most = max(most, len(held))
        for patch in patches:
            for near in order.nearby(grid, extent, patch):
                users[near].discard(patch)
        held = {patch for patch in held if users[patch]}
    assert not held
    return most


def wavefronts(grid: Grid, order: Order, extent: Extent) -> list[list[Patch]]:
    """The ready sets, one after the other, until everything is done."""
    rounds: list[list[Patch]] = []
    done: set[Patch] = set()
    while patches := ready(grid, order, extent, done):
        assert done.isdisjoint(patches)
        assert all(done.issuperset(order.nearby(grid, extent, patch)) for patch in patches)
        rounds.append(patches)
        done.update(patches)
    assert done == set(grid)
    return rounds


@quick
@given(grids, orders, extents)
def test_plan_foretells_rounds_and_pages_exactly(grid: Grid, order: Order, extent: Extent) -> None:
    plan = compile_plan(grid, order, extent)
    rounds = wavefronts(grid, order, extent)
    assert plan.rounds == len(rounds)
    assert plan.wavefront_high_water == simulated_pages(grid, order, extent, rounds)
    assert plan.pool_high_water == simulated_pages(grid, order, extent, [[patch] for patch in order.sequence(grid)])


@pytest.mark.parametrize(
    ("frames", "rows", "columns", "extent", "column_major", "row_major"),
    [
        (1, 4, 4, Extent(0, 1, 1), 6, 6),
        (1, 4, 4, Extent(0, 2, 2), 11, 11),
        (1, 8, 152, Extent(0, 1, 1), 10, 154),
        (1, 8, 152, Extent(0, 2, 2), 19, 307),
        (5, 4, 4, Extent(1, 1, 1), 22, 22),
        (5, 4, 4, Extent(2, 2, 2), 43, 43),
    ],
)
def test_pool_high_water_is_the_papers_table_in_simulation_too(
    frames: int, rows: int, columns: int, extent: Extent, column_major: int, row_major: int
) -> None:
    grid = Grid(frames, rows, columns, 256)
    for order in ORDERS.values():
        expected = column_major if order in (OMEGA, OMEGA_STAR) else row_major
        assert compile_plan(grid, order, extent).pool_high_water == expected
        assert simulated_pages(grid, order, extent, [[patch] for patch in order.sequence(grid)]) == expected


@pytest.mark.parametrize(("reach", "rounds", "pages"), [(1, 166, 30), (2, 173, 63)])
def test_wavefront_of_the_papers_scroll_takes_the_papers_rounds_and_pages(reach: int, rounds: int, pages: int) -> None:
    plan = compile_plan(Grid(1, 8, 152, 256), ZETA, Extent(0, reach, reach))
    assert (plan.rounds, plan.wavefront_high_water) == (rounds, pages)


@quick
@given(st.integers(1, 500), st.integers(2, 500))
def test_rounds_of_a_still_are_the_fast_side_plus_twice_the_slow_one(slow: int, fast: int) -> None:
    for order in (ZETA, ZETA_STAR):
        assert compile_plan(Grid(1, slow, fast, 8), order, Extent()).rounds == fast + 2 * (slow - 1)
    for order in (OMEGA, OMEGA_STAR):
        assert compile_plan(Grid(1, fast, slow, 8), order, Extent()).rounds == fast + 2 * (slow - 1)


def test_a_canvas_one_patch_wide_takes_one_round_per_patch() -> None:
    for order in ORDERS.values():
        assert compile_plan(Grid(1, 7, 1, 8), order, Extent()).rounds == 7


def test_patches_that_look_nowhere_take_one_round_and_one_page_each() -> None:
    plan = compile_plan(Grid(2, 3, 4, 8), OMEGA, Extent(0, 0, 0))
    assert (plan.rounds, plan.pool_high_water, plan.wavefront_high_water) == (1, 1, 24)


def test_omega_needs_no_more_pages_for_a_wider_canvas() -> None:
    pages = {
        (plan.pool_high_water, plan.wavefront_high_water)
        for columns in (20, 200, 2000)
        for plan in [compile_plan(Grid(1, 8, columns, 8), OMEGA, Extent())]
    }
    assert len(pages) == 1


def test_a_million_patches_are_planned_at_once() -> None:
    started = perf_counter()
    plan = compile_plan(Grid(1, 1000, 1000, 64), ZETA, Extent(0, 2, 2))
    assert (plan.rounds, plan.pool_high_water) == (1000 + 3 * 999, 2 * 1000 + 2 + 1)
    assert plan.wavefront_high_water < plan.rounds
    assert perf_counter() - started < 1.0  # milliseconds when idle; a walk over the patches would take many seconds


def test_a_plan_of_one_phase_is_the_order_itself() -> None:
    grid = Grid(2, 3, 4, 8)
    plan = compile_plan(grid, ZETA_STAR, Extent())
    (phase,) = plan.phases
    assert list(plan.sequence()) == [(phase, patch) for patch in ZETA_STAR.sequence(grid)]
    assert all(plan.nearby(phase, patch) == ZETA_STAR.nearby(grid, Extent(), patch) for patch in grid)


def outpainting() -> Plan:
    """A 2x3 picture grown by two columns to the right, then by one row down; each region includes its border."""
    one = range(1)
    return Plan(
        Grid(1, 3, 5, 8),
        Extent(),
        (
            Phase(Region(one, range(2), range(2, 5)), OMEGA),
            Phase(Region(one, range(1, 3), range(5)), ZETA),
        ),
    )


def test_phases_follow_each_other_and_replay_the_border_they_grow_from() -> None:
    plan = outpainting()
    right, down = plan.phases
    expected = [(right, Patch(0, row, column)) for column in range(2, 5) for row in range(2)]
    expected += [(down, Patch(0, row, column)) for row in range(1, 3) for column in range(5)]
    assert list(plan.sequence()) == expected


def test_a_phase_selects_only_what_its_own_region_and_order_hold() -> None:
    plan = outpainting()
    right, down = plan.phases
    assert plan.nearby(right, Patch(0, 0, 2)) == ()  # column 1 was not replayed
    assert plan.nearby(right, Patch(0, 0, 3)) == (Patch(0, 0, 2), Patch(0, 1, 2))
    assert plan.nearby(down, Patch(0, 1, 3)) == (Patch(0, 1, 2),)  # row 0 was not replayed
    with pytest.raises(ValueError, match="not in the region"):
        plan.nearby(right, Patch(0, 0, 0))


@quick
@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 5), orders), min_size=1, max_size=3), extents)
def test_a_plan_costs_the_rounds_of_all_its_phases_and_the_pages_of_the_largest(
    parts: list[tuple[int, int, Order]], extent: Extent
) -> None:
    phases = tuple(
        Phase(Region(range(1), range(4 - rows, 4), range(1, 1 + columns)), order) for rows, columns, order in parts
    )
    plan = Plan(Grid(1, 4, 6, 8), extent, phases)
    alone = [compile_plan(Grid(1, rows, columns, 8), order, extent) for rows, columns, order in parts]
    assert plan.rounds == sum(part.rounds for part in alone)
    assert plan.pool_high_water == max(part.pool_high_water for part in alone)
    assert plan.wavefront_high_water == max(part.wavefront_high_water for part in alone)


def test_plan_refuses_regions_outside_the_grid_and_no_phases() -> None:
    grid = Grid(1, 2, 3, 8)
    with pytest.raises(ValueError, match=r"^columns of phase 0 must end within the grid's 3, got 4"):
        Plan(grid, Extent(), (Phase(Region(range(1), range(2), range(4)), ZETA),))
    with pytest.raises(ValueError, match=r"^phases must hold at least 1 phase"):
        Plan(grid, Extent(), ())


@pytest.mark.parametrize("rows", [range(0), range(2, 1), range(0, 4, 2), range(-1, 2)])
def test_region_refuses_ranges_that_are_empty_or_have_gaps(rows: range) -> None:
    with pytest.raises(ValueError, match=r"^rows must be a range of at least 1 patch"):
        Region(range(1), rows, range(1))


def test_auto_scans_the_longer_side_fast() -> None:
    names = list(ORDERS)
    assert choose_order(Grid(1, 8, 152, 8), Extent(), names) == ZETA
    assert choose_order(Grid(1, 152, 8, 8), Extent(), names) == OMEGA


def test_auto_takes_the_smaller_pool_when_rounds_are_equal() -> None:
    grid, extent = Grid(1, 2, 4, 8), Extent(0, 1, 0)
    plans = {name: compile_plan(grid, ORDERS[name], extent) for name in ("zeta", "omega")}
    assert plans["zeta"].rounds == plans["omega"].rounds
    smaller = min(plans, key=lambda name: plans[name].pool_high_water)
    assert plans["zeta"].pool_high_water != plans["omega"].pool_high_water
    assert {choose_order(grid, extent, names).name for names in (["zeta", "omega"], ["omega", "zeta"])} == {smaller}


def test_auto_takes_the_first_listed_when_all_is_equal_and_only_what_is_allowed() -> None:
    square = Grid(1, 4, 4, 8)
    assert choose_order(square, Extent(), ["zeta_star", "omega", "zeta"]) == ZETA_STAR
    assert choose_order(Grid(1, 8, 152, 8), Extent(), ["omega_star"]) == OMEGA_STAR


@quick
@given(grids, extents, st.permutations(list(ORDERS)), st.integers(1, 4))
def test_auto_follows_its_stated_rule(grid: Grid, extent: Extent, names: list[str], count: int) -> None:
    allowed = names[:count]
    chosen = choose_order(grid, extent, allowed)

    def cost(name: str) -> tuple[int, int, int]:
        plan = compile_plan(grid, ORDERS[name], extent)
        return plan.rounds, plan.pool_high_water, allowed.index(name)

    assert cost(chosen.name) == min(cost(name) for name in allowed)


def test_auto_refuses_unknown_names_and_an_empty_list() -> None:
    with pytest.raises(ValueError, match=r"^order must be one of omega, .* got 'spiral'"):
        choose_order(Grid(1, 1, 1, 8), Extent(), ["omega", "spiral"])
    with pytest.raises(ValueError, match=r"^orders must name at least 1 order"):
        choose_order(Grid(1, 1, 1, 8), Extent(), [])
