"""PatchScheduler: which patches of which jobs run next. Pure: no torch, no Redis, no clock.

    batch = scheduler.schedule()          # decide: which patches, of which jobs
    ...                                   # do: the engine draws them
    outcome = scheduler.complete(batch)   # record: contexts to forget, patches to refine, jobs now complete

Inside a job, phases follow each other; in a phase, patches run in wavefront rounds (a patch's round = its longest
chain of nearby patches); between jobs, one patch each in turn. Patches that exist already (given ones, those of an
earlier phase, those of an earlier worker) take part in the rounds like all others, but are replayed: replay().
"""

import heapq
from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from canvas.grid import Patch
from canvas.plan import Phase, Plan
from workers.errors import PoolTooSmall


@dataclass(frozen=True)
class PatchBatch:
    """Ready patches that run together, as (job id, patch). Empty means that nothing is ready."""

    patches: tuple[tuple[str, Patch], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.patches)

    def of(self, job_id: str) -> list[Patch]:
        """The patches of one job, in the order of the batch."""
        return [patch for owner, patch in self.patches if owner == job_id]


@dataclass
class Outcome:
    """What follows from a batch that is done, all by job id."""

    remove: dict[str, list[Patch]] = field(default_factory=dict)  # contexts no later patch will look at
    refine: dict[str, list[Patch]] = field(default_factory=dict)  # blocks of patches all of whose neighbours exist now
    frames: dict[str, list[int]] = field(default_factory=dict)  # frames all of whose patches exist now, in turn
    entered: dict[str, int] = field(default_factory=dict)  # the phase that begins, its pool empty, counted from 0
    finished: list[str] = field(default_factory=list)  # jobs whose last patch this was


class PatchScheduler:
    """Hands out ready patches of the jobs whose pages fit the pool; jobs that do not fit yet wait in line.

    slots: most patches in a batch.  pages: capacity of the pool, shared by all admitted jobs.
    max_jobs: with so many jobs there is no room for another.
    """

    def __init__(self, slots: int, pages: int, max_jobs: int = 8) -> None:
        self.slots = slots
        self.pages = pages
        self.max_jobs = max_jobs
        self._waiting: dict[str, _Walk] = {}
        self._turn: deque[_Walk] = deque()  # admitted jobs; whose turn comes first stands first
        self._admitted: dict[str, _Walk] = {}

    def add(self, job_id: str, plan: Plan, pages: int, done: Collection[Patch] = ()) -> None:
        """Put a job in line. `pages` is the most it can hold at once, `done` what an earlier worker drew of it.

        Raises PoolTooSmall when it can never be admitted; ValueError when the job is known already.
        """
        if job_id in self._waiting or job_id in self._admitted:
            raise ValueError(f"job {job_id} is scheduled already")
        if pages > self.pages:
            raise PoolTooSmall(f"the picture needs {pages} pages of the context pool, which has {self.pages} in all")
        self._waiting[job_id] = _Walk(job_id, plan, pages, done)

    def admit(self) -> list[str]:
        """Admit jobs from the head of the line while their pages fit; the ids of those admitted now.

        First come, first served: a large job at the head is not overtaken, so it cannot starve.
        """
        admitted = []
        for job_id, walk in list(self._waiting.items()):
            if self.pages_promised + walk.pages > self.pages:
                break
            self._admitted[job_id] = self._waiting.pop(job_id)
            self._turn.append(walk)
            admitted.append(job_id)
        return admitted

    @property
    def pages_promised(self) -> int:
        """Sum of the most pages that the admitted jobs can hold; never above the pool's capacity."""
        return sum(walk.pages for walk in self._admitted.values())

    @property
    def pages_held(self) -> int:
        """Pages in use now, as far as outcomes have been applied."""
        return sum(walk.pages_held for walk in self._admitted.values())

    @property
    def has_room(self) -> bool:
        """Whether to take another job: none waits in line, so that others may take what does not fit here."""
        return not self._waiting and len(self._admitted) < self.max_jobs

    def schedule(self, closed: Collection[str] = ()) -> PatchBatch:
        """Up to `slots` ready patches: one from each job in turn, and again until slots or ready patches run out.

        A job that had a turn goes to the end; one with nothing ready keeps its place. Jobs with something to replay,
        and those that are still `closed`, are passed over.
        """
        picked: list[tuple[str, Patch]] = []
        while len(picked) < self.slots:
            walk = next((w for w in self._turn if w.ready and not w.must_replay and w.job_id not in closed), None)
            if walk is None:
                break
            self._turn.remove(walk)
            self._turn.append(walk)
            picked.append((walk.job_id, walk.next_ready()))
        return PatchBatch(tuple(picked))

    def complete(self, batch: PatchBatch) -> Outcome:
        """Record that these patches are done; a finished job is dropped. Patches of dropped jobs are ignored."""
        outcome = Outcome()
        for job_id, patch in batch.patches:
            if job_id in self._admitted:
                self._complete(self._admitted[job_id], patch, outcome)
        return outcome

    def replay(self, job_id: str) -> tuple[PatchBatch, Outcome] | None:
        """The next patches of a job to prefill, and what follows from it; None when nothing is to be replayed now.

        Only what the rounds have come to is replayed, so no more pages are held than in a run that draws it all.
        Raises ValueError when an earlier worker's patch is left over because its nearby patches do not exist.
        """
        walk = self._admitted.get(job_id)
        if walk is None or not walk.must_replay:
            return None
        picked: list[Patch] = []
        while len(picked) < self.slots and walk.can_replay:
            picked.append(walk.next_known())
        if not picked:
            raise ValueError(f"patches are done whose nearby patches are not: {sorted(walk.logged)}")
        outcome = Outcome()
        for patch in picked:
            self._complete(walk, patch, outcome)
        return PatchBatch(tuple((job_id, patch) for patch in picked)), outcome

    def drop(self, job_id: str) -> None:
        """Forget a job wherever it stands. Unknown ids are ignored."""
        self._waiting.pop(job_id, None)
        walk = self._admitted.pop(job_id, None)
        if walk is not None:
            self._turn.remove(walk)

    def _complete(self, walk: "_Walk", patch: Patch, outcome: Outcome) -> None:
        number = walk.number
        remove, refine = walk.complete(patch)
        if remove:
            outcome.remove.setdefault(walk.job_id, []).extend(remove)
        if refine:
            outcome.refine.setdefault(walk.job_id, []).extend(refine)
        if frames := walk.take_frames():
            outcome.frames.setdefault(walk.job_id, []).extend(frames)
        if number != walk.number and not walk.is_finished:
            outcome.entered[walk.job_id] = walk.number
        if walk.is_finished:
            outcome.finished.append(walk.job_id)
            self.drop(walk.job_id)


class _Walk:
    """One job's way through its phases. Everything is counted as it happens: no step looks at the whole grid.

    Frames that are complete are forgotten, so what is held does not grow with the length of a film.
    """

    def __init__(self, job_id: str, plan: Plan, pages: int, done: Collection[Patch]) -> None:
        self.job_id = job_id
        self.pages = pages
        self.plan, self.grid = plan, plan.grid
        self.logged = set(done)  # what an earlier worker drew, as far as it is not replayed yet
        self._drawn: set[Patch] = set()  # but for those of frames that were taken
        self._left_in: dict[int, int] = {}  # frames that are begun in the last phase: patches of them that are left
        self._next_frame = 0
        self._enter(0)

    def _enter(self, number: int) -> None:
        self.number = number
        if self.is_finished:
            return
        self._phase = self.plan.phases[number]
        self._left = len(self._phase.region)  # patches of the phase to draw or replay
        self.ready: list[tuple[int, int, Patch]] = []  # heap by (round, rank): patches to draw
        self.known: list[tuple[int, int, Patch]] = []  # the same of patches to replay
        self._missing: dict[Patch, int] = {}  # nearby patches not done yet, of patches where at least one is
        self._round: dict[Patch, int] = {}  # of patches not done: 1 + the highest round among nearby patches done
        self._unserved: dict[Patch, int] = {}  # contexts in the pool: dependants that are not done yet
        for patch in _without_nearby(self.plan, self._phase):
            self._make_ready(patch)

    @property
    def pages_held(self) -> int:
        return len(self._unserved)

    @property
    def is_finished(self) -> bool:
        return self.number == len(self.plan.phases)

    @property
    def can_replay(self) -> bool:
        """Whether a patch that exists is next: none to draw belongs to an earlier round."""
        return bool(self.known) and (not self.ready or self.known[0][0] <= self.ready[0][0])

    @property
    def must_replay(self) -> bool:
        return bool(self.logged) or self.can_replay

    def next_ready(self) -> Patch:
        return heapq.heappop(self.ready)[2]

    def next_known(self) -> Patch:
        return heapq.heappop(self.known)[2]

    def complete(self, patch: Patch) -> tuple[list[Patch], list[Patch]]:
        """Returns (contexts nobody needs any more, patches of blocks that can be refined now)."""
        is_new = not self._exists(patch)
        if is_new:
            self._drawn.add(patch)
            self.logged.discard(patch)
        dependants = self._dependants(patch)
        self._unserved[patch] = len(dependants)
        next_round = self._round.pop(patch, 0) + 1
        for later in dependants:
            missing = self._missing.pop(later, None)
            if missing is None:
                missing = len(self.plan.nearby(self._phase, later))
            self._round[later] = max(self._round.get(later, 0), next_round)
            if missing == 1:
                self._make_ready(later)
            else:
                self._missing[later] = missing - 1
        served = [] if dependants else [patch]
        for near in self.plan.nearby(self._phase, patch):
            self._unserved[near] -= 1
            if self._unserved[near] == 0:
                served.append(near)
        for context in served:
            del self._unserved[context]
        refine = self._refinable(patch) if is_new else []
        if self.number == len(self.plan.phases) - 1:
            of_one = len(self._phase.region.rows) * len(self._phase.region.columns)
            self._left_in[patch.frame] = self._left_in.get(patch.frame, of_one) - 1
        self._left -= 1
        if self._left == 0:
            self._enter(self.number + 1)
        return served, refine

    def take_frames(self) -> list[int]:
        """The frames that are complete by now, each once and in turn."""
        taken = []
        while self._left_in.get(self._next_frame) == 0:
            del self._left_in[self._next_frame]
            taken.append(self._next_frame)
            self._next_frame += 1
        if taken:
            self._drawn = {patch for patch in self._drawn if patch.frame >= self._next_frame}
        return taken

    def _exists(self, patch: Patch) -> bool:
        return patch in self._drawn or patch in self.plan.given

    def _make_ready(self, patch: Patch) -> None:
        heap = self.known if self._exists(patch) or patch in self.logged else self.ready
        heapq.heappush(heap, (self._round.get(patch, 0), self._phase.order.rank(self.grid, patch), patch))

    def _dependants(self, patch: Patch) -> list[Patch]:
        later = self._phase.order.dependants(self.grid, self.plan.extent, patch)
        return [other for other in later if other in self._phase.region]

    def _refinable(self, patch: Patch) -> list[Patch]:
        """The drawn patches of each block that can be refined from now on, since this patch exists.

        A block is two by two patches of a frame, less at the edges, with at least one that was drawn: their final
        pixels take far less time together than alone.
        """
        blocks = dict.fromkeys((o.row // 2, o.column // 2) for o in _square(patch) if o in self._drawn)
        refine: list[Patch] = []
        for row, column in blocks:
            places = [Patch(patch.frame, 2 * row + down, 2 * column + right) for down in (0, 1) for right in (0, 1)]
            patches = [place for place in places if place in self.grid]
            drawn = [place for place in patches if place in self._drawn]
            if all(map(self._exists, patches)) and all(map(self._surrounded, drawn)):
                refine += drawn
        return refine

    def _surrounded(self, patch: Patch) -> bool:
        return all(self._exists(other) for other in self.grid.touching(patch))


def _square(patch: Patch) -> list[Patch]:
    """The patch and the eight that touch it, by rising grid index; some may lie outside the grid."""
    return [Patch(patch.frame, patch.row + row, patch.column + column) for row in (-1, 0, 1) for column in (-1, 0, 1)]


def _without_nearby(plan: Plan, phase: Phase) -> Iterator[Patch]:
    """The patches with an empty Select list: those that stand first along every axis that patches look along."""
    extent, order = plan.extent, phase.order
    frames, rows, columns = phase.region.frames, phase.region.rows, phase.region.columns
    return order.walk(
        frames[:1] if extent.frames else frames,
        (rows[:1] if order.row_sign == 1 else rows[-1:]) if extent.rows else rows,
        (columns[:1] if order.column_sign == 1 else columns[-1:]) if extent.columns else columns,
    )
