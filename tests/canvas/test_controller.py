"""The direction controller: given pictures grow on every side, every patch comes once, and always from what exists."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from canvas.controller import GROWING, Layout, choose_orders, lay_out, plan_task
from canvas.grid import Box, Extent, Grid, Patch
from canvas.order import ORDERS
from canvas.plan import Plan, Region, choose_order, compile_plan

PX = 8
ALL = list(ORDERS)
quick = settings(max_examples=150, deadline=None)
sides = st.integers(0, 40)


@st.composite
def outpaintings(draw: st.DrawFn) -> Layout:
    """A picture of 1 to 50 pixels a side with up to 40 added on each, at least 1 in all."""
    left, right, top, bottom = draw(st.tuples(sides, sides, sides, sides).filter(any))
    width, height = draw(st.integers(1, 50)), draw(st.integers(1, 50))
    box = Box(left, top, left + width, top + height)
    return lay_out(left + width + right, top + height + bottom, PX, box)


@st.composite
def repaintings(draw: st.DrawFn) -> Layout:
    width, height = draw(st.integers(1, 60)), draw(st.integers(1, 60))
    left, top = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    hole = Box(left, top, draw(st.integers(left + 1, width)), draw(st.integers(top + 1, height)))
    rows, columns = range(hole.top // PX, -(-hole.bottom // PX)), range(hole.left // PX, -(-hole.right // PX))
    touched = [row * -(-width // PX) + column for row in rows for column in columns]
    spared = draw(st.lists(st.sampled_from(touched), max_size=len(touched) - 1, unique=True))
    return lay_out(width, height, PX, Box(0, 0, width, height), hole, spared=spared)


layouts = outpaintings() | repaintings()
extents = st.builds(Extent, st.just(0), st.integers(0, 2), st.integers(0, 2))


def planned(layout: Layout, extent: Extent = Extent(), forced: str | None = None) -> Plan:
    return plan_task(layout, extent, choose_orders(layout, extent, ALL, forced))


def inside(outer: Box, inner: Box) -> bool:
    return (
        outer.left <= inner.left
        and outer.top <= inner.top
        and outer.right >= inner.right
        and outer.bottom >= inner.bottom
    )


@quick
@given(layouts, extents)
def test_every_patch_is_given_or_drawn_exactly_once(layout: Layout, extent: Extent) -> None:
    plan = planned(layout, extent)
    existing = set(plan.given)
    for number, phase in enumerate(plan.phases):
        drawn = [p for walked, p in plan.sequence() if walked is phase and p not in existing]
        assert len(drawn) == plan.draws()[number]
        existing |= set(drawn)
    assert existing == set(plan.grid)
    assert sum(plan.draws()) == len(plan.grid) - len(plan.given) >= 1


@quick
@given(layouts)
def test_a_patch_is_given_when_and_only_when_every_pixel_that_is_seen_of_it_is_known(layout: Layout) -> None:
    plan = planned(layout)
    for patch in plan.grid:
        box = layout.box(patch)
        assert box.left < box.right, "no patch lies wholly outside the picture"
        assert box.top < box.bottom
        hole = layout.hole
        free = hole is None or not (
            box.left < hole.right and hole.left < box.right and box.top < hole.bottom and hole.top < box.bottom
        )
        assert (patch in plan.given) == (inside(layout.given, box) and (free or patch in layout.spared))


@quick
@given(outpaintings(), extents)
def test_a_phase_begins_from_the_border_it_grows_from(layout: Layout, extent: Extent) -> None:
    """Replayed patches never look at new ones, so the whole border can be replayed before anything is drawn."""
    plan = planned(layout, extent)
    for number, phase in enumerate(plan.phases):
        for walked, patch in plan.sequence():
            if walked is phase and plan.exists_before(number, patch):
                assert all(plan.exists_before(number, near) for near in plan.nearby(phase, patch))


@quick
@given(outpaintings())
def test_new_patches_beside_the_border_look_at_it(layout: Layout) -> None:
    plan = planned(layout)
    for number, phase in enumerate(plan.phases[1:] if layout.core is None else plan.phases):
        number += layout.core is None
        for walked, patch in plan.sequence():
            if walked is not phase or plan.exists_before(number, patch):
                continue
            touching = [other for other in plan.grid.touching(patch) if plan.exists_before(number, other)]
            straight = [o for o in touching if o.row == patch.row or o.column == patch.column]
            axis = 1 if phase.order.axes[0] == "row" else 2
            ahead = [o for o in straight if o[axis] != patch[axis]]
            assert all(other in plan.nearby(phase, patch) for other in ahead if other in phase.region)


@quick
@given(layouts, extents, st.lists(st.sampled_from(ALL), min_size=1, unique=True))
def test_the_orders_alone_tell_a_worker_the_whole_plan(layout: Layout, extent: Extent, allowed: list[str]) -> None:
    try:
        names = choose_orders(layout, extent, allowed)
    except ValueError:
        assert len(allowed) < len(ALL)
        return
    assert set(names) <= set(allowed)
    plan = plan_task(layout, extent, "+".join(names).split("+"))
    assert tuple(phase.order.name for phase in plan.phases) == names
    with pytest.raises(ValueError, match="phases"):
        plan_task(layout, extent, [*names, "zeta"])


def test_a_picture_on_whole_patches_grows_on_all_four_sides_as_in_the_paper() -> None:
    layout = lay_out(6 * PX, 5 * PX, PX, Box(2 * PX, PX, 4 * PX, 3 * PX))
    plan = planned(layout)
    one = range(1)
    assert [(phase.order.name, phase.region) for phase in plan.phases] == [
        ("omega", Region(one, range(1, 3), range(3, 6))),
        ("omega_star", Region(one, range(1, 3), range(3))),
        ("zeta", Region(one, range(2, 5), range(6))),
        ("zeta_star", Region(one, range(2), range(6))),
    ]
    assert plan.draws() == (4, 4, 12, 6)
    assert plan.given == {Patch(0, row, column) for row in (1, 2) for column in (2, 3)}


def test_the_grid_is_shifted_so_that_the_border_lies_between_patches() -> None:
    right = lay_out(31, 20, PX, Box(0, 0, 21, 20))
    assert (right.origin, right.grid) == ((3, 0), Grid(1, 3, 5, PX))
    left = lay_out(31, 20, PX, Box(10, 0, 31, 20))
    assert (left.origin, left.known) == ((6, 0), Box(16, 0, 40, 24))
    both = lay_out(40, 20, PX, Box(9, 0, 30, 20))
    assert both.origin == (2, 0), "the side that gains more lies between patches"
    assert both.known == Box(11, 0, 32, 24)


def test_a_picture_that_holds_no_whole_patch_is_completed_first() -> None:
    layout = lay_out(40, 40, PX, Box(18, 18, 22, 22))
    plan = planned(layout)
    assert (len(plan.phases), plan.given) == (5, frozenset())
    assert len(plan.phases[0].region) == 1


def test_a_forced_order_is_kept_where_it_can_grow_the_picture_and_refused_with_the_side_where_not() -> None:
    right_down = lay_out(40, 40, PX, Box(0, 0, 16, 16))
    assert [p.order.name for p in planned(right_down, forced="omega").phases] == ["omega", "omega"]
    assert [p.order.name for p in planned(right_down).phases] == ["omega", "zeta"]
    with pytest.raises(ValueError, match=r"cannot be omega_star: .* grows on the right, which takes omega or zeta"):
        planned(right_down, forced="omega_star")
    with pytest.raises(ValueError, match=r"cannot be omega or zeta: .* grows on the left"):
        choose_orders(lay_out(40, 16, PX, Box(24, 0, 40, 16)), Extent(), ["omega", "zeta"])
    assert all(set(names) <= set(ALL) for names in GROWING.values())


@quick
@given(st.integers(1, 200), st.integers(1, 200), st.sampled_from([None, *ALL]))
def test_without_a_given_picture_the_plan_is_one_phase_in_the_order_of_the_stated_rule(
    width: int, height: int, forced: str | None
) -> None:
    layout = lay_out(width, height, PX)
    grid = Grid.from_pixels(width, height, PX)
    order = ORDERS[forced] if forced else choose_order(grid, Extent(), ALL)
    assert planned(layout, forced=forced) == compile_plan(grid, order, Extent())
    for patch in grid:
        left, top, right, bottom = grid.box(patch)
        assert layout.box(patch) == (left, top, min(right, width), min(bottom, height))


@pytest.mark.parametrize(("given", "drawn"), [(None, 30), (Box(0, 0, 20, 10), 24)])
def test_a_film_runs_through_its_frames_in_turn_from_the_one_that_is_given(given: Box | None, drawn: int) -> None:
    film = lay_out(20, 10, PX, given, frames=5)
    assert film.grid == Grid(5, 2, 3, PX)
    plan = planned(film, Extent(1, 1, 1))
    assert [patch.frame for _, patch in plan.sequence()] == sorted(patch.frame for patch in plan.grid)
    assert plan.given == (frozenset() if given is None else {patch for patch in plan.grid if patch.frame == 0})
    assert plan.draws() == (drawn,)


def test_a_film_of_the_given_picture_alone_draws_nothing() -> None:
    plan = planned(lay_out(20, 10, PX, Box(0, 0, 20, 10)), Extent(1, 1, 1))
    assert (len(plan.phases), len(plan.given), plan.draws()) == (1, 6, (0,))


def test_less_than_a_frame_cannot_be_given_of_a_film() -> None:
    with pytest.raises(ValueError, match="must be its whole first frame"):
        lay_out(20, 10, PX, Box(0, 0, 19, 10), frames=2)
    with pytest.raises(ValueError, match="must be its whole first frame"):
        lay_out(20, 10, PX, Box(0, 0, 20, 10), Box(0, 0, 5, 5), frames=2)


WHOLE, HOLE = Box(0, 0, 4 * PX, 4 * PX), Box(PX + 1, PX, 3 * PX, 3 * PX - 1)


def test_spared_patches_of_a_hole_are_given() -> None:
    plan = planned(lay_out(4 * PX, 4 * PX, PX, WHOLE, HOLE, spared=[5]))
    assert (plan.draws(), Patch(0, 1, 1) in plan.given) == ((3,), True)


@pytest.mark.parametrize("spared", [[0], [5, 6, 9, 10], [15]])
def test_spared_patches_lie_in_the_hole_and_are_not_all_of_it(spared: list[int]) -> None:
    with pytest.raises(ValueError, match="spared patches must lie in the hole, and not be all of it"):
        lay_out(4 * PX, 4 * PX, PX, WHOLE, HOLE, spared=spared)


def test_first_pixels_look_only_at_what_exists_whenever_the_patch_is_drawn() -> None:
    layout = lay_out(5 * PX, 4 * PX, PX, Box(PX, PX, 4 * PX, 3 * PX))
    plan = planned(layout)
    assert plan.around(Patch(0, 1, 4)) == (Patch(0, 1, 3), Patch(0, 2, 3))
    assert Patch(0, 2, 4) in plan.around(Patch(0, 3, 3)), "made by an earlier phase"
    with pytest.raises(ValueError, match="drawn in no phase"):
        plan.around(Patch(0, 1, 1))


@pytest.mark.parametrize("box", [Box(0, 0, 0, 5), Box(-1, 0, 5, 5), Box(0, 0, 11, 5), Box(0, 6, 5, 5)])
def test_given_pixels_must_be_a_box_inside_the_picture(box: Box) -> None:
    with pytest.raises(ValueError, match=r"the given pixels must be a box inside"):
        lay_out(10, 10, PX, box)
    with pytest.raises(ValueError, match=r"the hole must be a box inside"):
        lay_out(10, 10, PX, Box(0, 0, 10, 10), box)
