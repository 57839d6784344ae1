"""PatchScheduler against its promises, on random grids, orders, extents, slots and cuts (hypothesis, 40 cases each)."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from canvas.controller import choose_orders, lay_out, plan_task
from canvas.grid import Box, Extent, Grid, Patch
from canvas.order import ORDERS
from canvas.plan import Plan, choose_order, compile_plan, pages_needed
from workers.errors import PoolTooSmall
from workers.scheduler import Outcome, PatchBatch, PatchScheduler

CASES = settings(max_examples=40, deadline=None)
plans = st.builds(
    compile_plan,
    st.builds(Grid, st.integers(1, 2), st.integers(1, 6), st.integers(1, 7), st.just(8)),
    st.sampled_from(list(ORDERS.values())),
    st.builds(Extent, st.integers(0, 1), st.integers(0, 2), st.integers(0, 2)),
)
slots = st.integers(1, 9)


@st.composite
def grown(draw: st.DrawFn) -> Plan:
    """A given picture that grows on some sides, or of which a part is drawn anew."""
    extent = Extent(0, draw(st.integers(0, 2)), draw(st.integers(0, 2)))
    left, top, right, bottom = draw(st.tuples(*[st.integers(0, 30)] * 4).filter(any))
    width, height = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    if draw(st.booleans()):
        layout = lay_out(left + width + right, top + height + bottom, 8, Box(left, top, left + width, top + height))
    else:
        hole = Box(left % width, top % height, width, height)
        columns = range(hole.left // 8, -(-width // 8))
        touched = [r * -(-width // 8) + c for r in range(hole.top // 8, -(-height // 8)) for c in columns]
        spared = draw(st.lists(st.sampled_from(touched), max_size=len(touched) - 1, unique=True))
        layout = lay_out(width, height, 8, Box(0, 0, width, height), hole, spared=spared)
    return plan_task(layout, extent, choose_orders(layout, extent, list(ORDERS)))


any_plans = plans | grown()


def plan_of(rows: int, columns: int, order: str = "zeta") -> Plan:
    return compile_plan(Grid(1, rows, columns, 8), ORDERS[order], Extent(0, 1, 1))


class Pool:
    """What an engine's pool would hold, with every promise checked at every batch."""

    def __init__(self, scheduler: PatchScheduler, jobs: dict[str, Plan]) -> None:
        self.scheduler = scheduler
        self.jobs = jobs
        self.phase = dict.fromkeys(jobs, 0)
        self.pages: set[tuple[str, Patch]] = set()
        self.done: dict[str, list[Patch]] = {job_id: [] for job_id in jobs}
        self.refined: list[tuple[str, Patch]] = []
        self.finished: list[str] = []
        self.frames: dict[str, list[int]] = {job_id: [] for job_id in jobs}
        self.there: set[tuple[str, Patch]] = set()  # drawn or replayed

    def apply(self, batch: PatchBatch, outcome: Outcome, replayed: bool = False) -> None:
        for job_id, patch in batch.patches:
            plan = self.jobs[job_id]
            for near in plan.nearby(plan.phases[self.phase[job_id]], patch):
                assert (job_id, near) in self.pages, "its context came too late or went too early"
        self.pages |= set(batch.patches)
        self.there |= set(batch.patches)
        for job_id, frames in outcome.frames.items():
            last = self.jobs[job_id].phases[-1].region
            for frame in frames:
                of_it = {patch for owner, patch in self.there if owner == job_id and patch.frame == frame}
                assert len([patch for patch in of_it if patch in last]) == len(last) // len(last.frames)
            self.frames[job_id] += frames
        for job_id in outcome.finished:
            assert self.frames[job_id] == list(self.jobs[job_id].phases[-1].region.frames), "each once and in turn"
        for job_id, patches in self.done.items():
            patches += [] if replayed else batch.of(job_id)
            held = sum(owner == job_id for owner, _ in self.pages)
            assert held <= pages_needed(self.jobs[job_id], self.scheduler.slots)
        assert len(self.pages) <= self.scheduler.pages
        for job_id, patches in outcome.remove.items():
            self.pages -= {(job_id, patch) for patch in patches}
        self.refined += [(job_id, patch) for job_id, patches in outcome.refine.items() for patch in patches]
        self.finished += outcome.finished
        for job_id, number in outcome.entered.items():
            assert number == self.phase[job_id] + 1
            assert not any(owner == job_id for owner, _ in self.pages), "a phase begins with an empty pool"
            self.phase[job_id] = number

    def step(self) -> bool:
        """One turn of a worker; whether anything happened."""
        self.scheduler.admit()
        steps = [step for job_id in self.jobs if (step := self.scheduler.replay(job_id))]
        for replayed, outcome in steps:
            for job_id, patch in replayed.patches:
                plan = self.jobs[job_id]
                assert patch in self.done[job_id] or patch in plan.given, "only what exists is replayed"
            self.apply(replayed, outcome, replayed=True)
        batch = self.scheduler.schedule()
        self.apply(batch, self.scheduler.complete(batch))
        return bool(batch) or bool(steps)


@CASES
@given(st.lists(any_plans, min_size=1, max_size=4), slots, st.integers(0, 20))
def test_every_patch_of_every_job_is_scheduled_once_after_its_nearby_patches(
    some: list[Plan], count: int, spare: int
) -> None:
    jobs = {f"job-{number}": plan for number, plan in enumerate(some)}
    needed = [pages_needed(plan, count) for plan in some]
    scheduler = PatchScheduler(count, max(needed) + spare)
    for (job_id, plan), pages in zip(jobs.items(), needed, strict=True):
        scheduler.add(job_id, plan, pages)
    pool = Pool(scheduler, jobs)
    while pool.step():
        assert scheduler.pages_promised <= scheduler.pages
        assert scheduler.pages_held == len(pool.pages)
    for job_id, plan in jobs.items():
        drawn = [patch for patch in plan.grid if patch not in plan.given]
        assert sorted(pool.done[job_id]) == drawn
        assert sorted(patch for owner, patch in pool.refined if owner == job_id) == drawn
    assert sorted(pool.finished) == sorted(jobs)
    assert not pool.pages


@CASES
@given(plans)
def test_one_job_with_enough_slots_takes_the_planned_rounds(plan: Plan) -> None:
    scheduler = PatchScheduler(len(plan.grid), len(plan.grid))
    scheduler.add("job", plan, len(plan.grid))
    pool = Pool(scheduler, {"job": plan})
    assert sum(iter(pool.step, False)) == plan.rounds


@CASES
@given(any_plans, slots, slots, st.data())
def test_replay_from_any_cut_goes_on_as_an_uninterrupted_run(
    plan: Plan, before: int, after: int, data: st.DataObject
) -> None:
    """The cut falls anywhere, also inside a batch, and the new worker has another number of slots."""
    size = len(plan.grid)
    first = PatchScheduler(before, size)
    first.add("job", plan, size)
    whole = Pool(first, {"job": plan})
    while whole.step():
        pass
    done = whole.done["job"][: data.draw(st.integers(0, len(whole.done["job"])))]

    second = PatchScheduler(after, size)
    second.add("job", plan, pages_needed(plan, after), done)
    second.admit()
    pool = Pool(second, {"job": plan})
    pool.done["job"] = list(done)
    assert not done or not second.schedule(), "a job is not scheduled while it is in replay"
    while step := second.replay("job"):
        batch, outcome = step
        assert len(batch.patches) <= after
        assert set(batch.of("job")) <= set(done) | plan.given
        pool.apply(batch, outcome, replayed=True)
    current = [patch for patch in done if patch in plan.phases[pool.phase["job"]].region] if done != whole.done else []
    if len(plan.phases) == 1 and not plan.given:
        phase = plan.phases[0]
        expected = {p for p in current if not set(phase.order.dependants(plan.grid, plan.extent, p)) <= set(done)}
        assert pool.pages == {("job", patch) for patch in expected}, "the pool of a run that was not interrupted"
    while pool.step():
        pass
    drawn = [patch for patch in plan.grid if patch not in plan.given]
    assert sorted(pool.done["job"]) == drawn
    assert sorted(patch for _, patch in pool.refined) == drawn
    assert not pool.pages


def test_few_slots_still_follow_the_wavefront_and_so_need_few_pages() -> None:
    """Row by row, 8 x 60 patches would hold 62 pages; by rounds at most what was promised."""
    plan = plan_of(8, 60)
    scheduler = PatchScheduler(2, 480)
    scheduler.add("job", plan, pages_needed(plan, 2))
    pool = Pool(scheduler, {"job": plan})
    while pool.step():
        pass
    assert pages_needed(plan, 2) < plan.pool_high_water == 62


def test_a_block_of_patches_is_refined_when_the_last_of_its_neighbours_is_done() -> None:
    scheduler = PatchScheduler(1, 100)
    scheduler.add("job", plan_of(5, 5), 50)
    scheduler.admit()
    refined_after: dict[Patch, Patch] = {}
    for _ in range(25):
        batch = scheduler.schedule()
        refined = scheduler.complete(batch).refine.get("job", [])
        assert not refined_after.keys() & set(refined)
        refined_after |= dict.fromkeys(refined, batch.patches[0][1])
    assert len(refined_after) == 25
    blocks = {(0, 0): (2, 2), (0, 4): (2, 4), (2, 2): (4, 4), (4, 0): (4, 2)}
    for (row, column), (last_row, last_column) in blocks.items():
        members = [Patch(0, r, c) for r in (row, row + 1) for c in (column, column + 1) if r < 5 and c < 5]
        assert {refined_after[patch] for patch in members} == {Patch(0, last_row, last_column)}


def test_jobs_of_the_same_size_never_differ_by_more_than_one_patch() -> None:
    scheduler = PatchScheduler(3, 1000)
    names = ["a", "b", "c", "d"]
    for name in names:
        scheduler.add(name, plan_of(4, 6), 24)
    scheduler.admit()
    given_out: Counter[str] = Counter(dict.fromkeys(names, 0))
    while batch := scheduler.schedule():
        given_out.update(job_id for job_id, _ in batch.patches)
        assert max(given_out.values()) - min(given_out.values()) <= 1
        scheduler.complete(batch)


def test_a_small_job_beside_a_giant_gets_a_patch_in_every_batch() -> None:
    scheduler = PatchScheduler(2, 10_000)
    scheduler.add("giant", plan_of(40, 60), 5000)
    scheduler.admit()
    for _ in range(100):
        scheduler.complete(scheduler.schedule())
    scheduler.add("small", plan_of(2, 3), 6)
    scheduler.admit()
    for _ in range(6):
        batch = scheduler.schedule()
        assert len(batch.of("small")) == 1
        outcome = scheduler.complete(batch)
    assert outcome.finished == ["small"]


def test_jobs_wait_in_line_until_their_pages_fit() -> None:
    scheduler = PatchScheduler(4, 10)
    scheduler.add("first", plan_of(2, 2), 6)
    scheduler.add("large", plan_of(2, 2), 10)
    scheduler.add("late", plan_of(2, 2), 2)
    assert scheduler.admit() == ["first"]
    assert not scheduler.has_room
    while batch := scheduler.schedule():
        assert len(batch.of("first")) == len(batch.patches)
        scheduler.complete(batch)
    assert scheduler.admit() == ["large"], "a later job that would fit does not overtake"
    scheduler.drop("large")
    assert scheduler.admit() == ["late"]
    assert scheduler.pages_promised == 2


def test_a_job_larger_than_the_pool_is_refused_with_both_figures() -> None:
    scheduler = PatchScheduler(4, 10)
    with pytest.raises(PoolTooSmall, match=r"needs 11 pages .* has 10") as caught:
        scheduler.add("job", plan_of(9, 9), 11)
    assert caught.value.code == "pool_too_small"
    assert scheduler.has_room


def test_patches_of_a_dropped_job_are_ignored_and_others_go_on() -> None:
    scheduler = PatchScheduler(4, 100)
    scheduler.add("kept", plan_of(2, 2), 4)
    scheduler.add("dropped", plan_of(2, 2), 4)
    scheduler.admit()
    batch = scheduler.schedule()
    assert {job_id for job_id, _ in batch.patches} == {"kept", "dropped"}
    scheduler.drop("dropped")
    scheduler.drop("never known")
    assert "dropped" not in scheduler.complete(batch).remove
    rest = [item for batch in iter(lambda: _next(scheduler), PatchBatch()) for item in batch.patches]
    assert {job_id for job_id, _ in rest} == {"kept"}
    assert len(rest) == 3


def test_a_log_with_a_patch_whose_context_is_missing_is_refused() -> None:
    scheduler = PatchScheduler(4, 100)
    scheduler.add("job", plan_of(2, 2), 4, {Patch(0, 0, 0), Patch(0, 1, 1)})
    scheduler.admit()
    assert scheduler.replay("job"), "the first patch is there"
    with pytest.raises(ValueError, match="whose nearby patches are not"):
        scheduler.replay("job")


def test_a_very_large_grid_is_added_and_begun_without_a_walk_over_it() -> None:
    scheduler = PatchScheduler(8, 10**6)
    plan = plan_of(10_000, 10_000)
    scheduler.add("job", plan, 10**6)  # 10^8 patches: any walk over them would take minutes
    scheduler.admit()
    for _ in range(100):
        assert scheduler.complete(scheduler.schedule())


def _next(scheduler: PatchScheduler) -> PatchBatch:
    batch = scheduler.schedule()
    scheduler.complete(batch)
    return batch


@pytest.mark.parametrize(("width", "height", "pages"), [(1024, 2048, 62), (38_912, 2048, 126)])
def test_the_paper_s_largest_picture_holds_exactly_the_pages_of_the_formula(
    width: int, height: int, pages: int
) -> None:
    """With as many slots as a round can fill; with the few of a worker it never holds all of a round."""
    grid, extent = Grid.from_pixels(width, height, 64), Extent(1, 1, 1)
    plan = compile_plan(grid, choose_order(grid, extent, list(ORDERS)), extent)
    high = {}
    for slots in (4, 32):
        scheduler = PatchScheduler(slots, pages_needed(plan, slots))
        scheduler.add("job", plan, pages_needed(plan, slots))
        scheduler.admit()
        held = 0
        while batch := scheduler.schedule():
            held = max(held, scheduler.pages_held + len(batch.patches))  # first Add, then Remove
            scheduler.complete(batch)
        high[slots] = held
    assert high[32] == plan.wavefront_high_water == pages
    assert high[4] < pages
