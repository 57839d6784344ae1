"""Plans: a task as phases of (region, order), and what it will cost in rounds and pool pages before it starts.

All figures are exact for every size and extent, and cost no walk over the patches. They rest on two facts, with
(f, s, t) = a patch's place along frames, the slow and the fast axis, each counted in drawing direction:
- its last use is the far corner of its window, (f + e_f, s + e_s, t + e_t), each clipped at the canvas;
- the earliest round it can run in is linear, A_f f + A_s s + A_t t (see _round_steps).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

from canvas.grid import Extent, Grid, Patch
from canvas.order import Order, order_named


@dataclass(frozen=True)
class Region:
    """A cuboid of patches, as rising ranges of step 1.  Raises ValueError when one is empty or has another step."""

    frames: range
    rows: range
    columns: range

    def __post_init__(self) -> None:
        for field in ("frames", "rows", "columns"):
            cells: range = getattr(self, field)
            if len(cells) < 1 or cells.step != 1 or cells.start < 0:
                raise ValueError(f"{field} must be a range of at least 1 patch from 0 on, with step 1, got {cells!r}")

    @classmethod
    def whole(cls, grid: Grid) -> Self:
        """All of a grid."""
        return cls(range(grid.frames), range(grid.rows), range(grid.columns))

    def __len__(self) -> int:
        return len(self.frames) * len(self.rows) * len(self.columns)

    def __contains__(self, patch: object) -> bool:
        return (
            isinstance(patch, Patch)
            and patch.frame in self.frames
            and patch.row in self.rows
            and patch.column in self.columns
        )


@dataclass(frozen=True)
class Phase:
    """A region drawn in one order, starting with an empty pool.

    A patch that exists when its phase begins (a given one, or one of an earlier phase) is replayed, not drawn: its
    states depend on the order. So a region that grows a picture includes the border it grows from.
    Source: paper.md 2.3.
    """

    region: Region
    order: Order


@dataclass(frozen=True)
class Plan:
    """The phases of a task, one after the other, on one grid with one extent.

    given: patches that are known beforehand, wholly; they are replayed where a phase holds them, and never drawn.
    Raises ValueError when there is no phase, or a region reaches outside the grid.
    """

    grid: Grid
    extent: Extent
    phases: tuple[Phase, ...]
    given: frozenset[Patch] = frozenset()

    def __post_init__(self) -> None:
        if not self.phases:
            raise ValueError("phases must hold at least 1 phase, got none")
        for number, phase in enumerate(self.phases):
            for field in ("frames", "rows", "columns"):
                stop, limit = getattr(phase.region, field).stop, getattr(self.grid, field)
                if stop > limit:
                    raise ValueError(f"{field} of phase {number} must end within the grid's {limit}, got {stop}")

    def sequence(self) -> Iterator[tuple[Phase, Patch]]:
        """Every patch of every phase in the order of work; a patch of two phases comes twice (drawn, then replayed)."""
        for phase in self.phases:
            region = phase.region
            for patch in phase.order.walk(region.frames, region.rows, region.columns):
                yield phase, patch

    def nearby(self, phase: Phase, patch: Patch) -> tuple[Patch, ...]:
        """Select within a phase: Order.nearby without the patches outside the region, by rising grid index.

        Raises ValueError when the patch is not in the phase's region.
        """
        if patch not in phase.region:
            raise ValueError(f"patch {patch!r} is not in the region {phase.region!r}")
        selected = phase.order.nearby(self.grid, self.extent, patch)
        return tuple(near for near in selected if near in phase.region)

    def exists_before(self, number: int, patch: Patch) -> bool:
        """Whether a patch is there when that phase (counted from 0) begins: given, or made by an earlier one."""
        return patch in self.given or any(patch in phase.region for phase in self.phases[:number])

    def around(self, patch: Patch) -> tuple[Patch, ...]:
        """Of the patches that touch this one in its frame, those that are there whenever it is drawn, by grid index.

        What else is done at that time does not count. Raises ValueError for a patch that no phase draws.
        """
        number = next((n for n, phase in enumerate(self.phases) if patch in phase.region), None)
        if number is None or patch in self.given:
            raise ValueError(f"patch {patch!r} is drawn in no phase")
        phase = self.phases[number]
        touching = self.grid.touching(patch)
        return tuple(
            other
            for other in touching
            if self.exists_before(number, other) or (other in phase.region and phase.order.precedes(other, patch))
        )

    def draws(self) -> tuple[int, ...]:
        """How many patches each phase draws; the others of its region are replayed. Walks over regions if it must."""
        if len(self.phases) == 1:
            [phase] = self.phases
            return (len(phase.region) - sum(patch in phase.region for patch in self.given),)
        walks = [
            phase.order.walk(phase.region.frames, phase.region.rows, phase.region.columns) for phase in self.phases
        ]
        return tuple(sum(not self.exists_before(number, patch) for patch in walk) for number, walk in enumerate(walks))

    @property
    def rounds(self) -> int:
        """Rounds needed when every ready patch of a round runs at once; phases wait for each other.

        One still phase in row order with extent (0, 1, 1): columns + 2 (rows - 1).  Source: paper.md 6, wavefront.
        """
        return sum(_rounds(_axes(phase, self.extent)) for phase in self.phases)

    @property
    def pool_high_water(self) -> int:
        """Most pool pages in use when patches run one by one: Add first, count, then Remove.

        That is e_s * (length of the fast axis) + e_t + 1, and e_f frames, each e clipped at length - 1.
        Source: paper.md 1.6.
        """
        return max(_sequential_pages(_axes(phase, self.extent)) for phase in self.phases)

    @property
    def wavefront_high_water(self) -> int:
        """Most pool pages in use when every ready patch of a round runs at once: Add all, count, then Remove.

        Neither figure bounds a run between the two (fewer slots than ready patches, or rounds that do not keep step):
        it can hold more pages than either.
        Time and memory grow with rounds (milliseconds for 1,000 x 1,000), so refuse absurd sizes before asking.
        Source: paper.md 6, wavefront ("pool 30 patches").
        """
        return max(_wavefront_pages(_axes(phase, self.extent)) for phase in self.phases)


def compile_plan(grid: Grid, order: Order, extent: Extent) -> Plan:
    """The plan of one phase: the whole grid in one order."""
    return Plan(grid, extent, (Phase(Region.whole(grid), order),))


def pages_needed(plan: Plan, slots: int, of_first_frame: int = 1) -> int:
    """Most pool pages a job can hold at once when the worker's scheduler hands out its patches, whatever else runs.

    Batches of up to `slots` keep to wavefront rounds except that one which completes a round may also begin the next,
    with at most slots - 1 patches; so these come on top of the wavefront's own high-water mark. Never more patches than
    there are.
    of_first_frame: pages that each patch of the first frame takes; those of later frames take one.
    """
    held = min(len(plan.grid), plan.wavefront_high_water + slots - 1)
    return held + (of_first_frame - 1) * min(held, plan.grid.rows * plan.grid.columns)


def choose_order(grid: Grid, extent: Extent, orders: Sequence[str]) -> Order:
    """The order that "auto" stands for, among the names a model allows.

    The rule: fewest rounds (time to the finished picture when ready patches run together); among equals the smaller
    pool_high_water (memory); among equals the name listed first. In practice the longer side is scanned fast, wide
    canvases in zeta, tall ones in omega: patches along the fast axis cost one round each, along the slow one several.
    Raises ValueError when orders is empty or names an unknown order.
    """
    if not orders:
        raise ValueError("orders must name at least 1 order, got none")
    plans = [(compile_plan(grid, order, extent), order) for order in map(order_named, orders)]
    return min(plans, key=lambda candidate: (candidate[0].rounds, candidate[0].pool_high_water))[1]


class _Axis(NamedTuple):
    """One axis of a phase in patches: how long it is, and how far a patch looks along it."""

    length: int
    extent: int

    @property
    def reach(self) -> int:
        """The extent as far as the canvas lets it reach."""
        return min(self.extent, self.length - 1)


def _axes(phase: Phase, extent: Extent) -> tuple[_Axis, _Axis, _Axis]:
    """The phase's axes, slowest first: frames, slow, fast. Signs do not matter: a mirrored canvas costs the same."""
    frames = _Axis(len(phase.region.frames), extent.frames)
    rows = _Axis(len(phase.region.rows), extent.rows)
    columns = _Axis(len(phase.region.columns), extent.columns)
    return (frames, rows, columns) if phase.order.axes[0] == "row" else (frames, columns, rows)


def _round_steps(axes: tuple[_Axis, ...]) -> tuple[int, ...]:
    """How many rounds later the next patch along each axis runs, slowest axis first.

    A patch waits for the previous one along its axis and, through it, for the farthest patch along all faster axes:
    A = 1 + sum over faster axes of A * reach, or 0 along an axis nobody looks along. The linear time so defined falls
    by at least 1 along every dependency, and single steps along the axes attain it, so it is the longest chain.
    """
    steps: list[int] = []
    wait = 1
    for axis in reversed(axes):
        step = wait if axis.extent else 0
        wait += step * axis.reach
        steps.insert(0, step)
    return tuple(steps)


def _rounds(axes: tuple[_Axis, ...]) -> int:
    return 1 + sum(step * (axis.length - 1) for axis, step in zip(axes, _round_steps(axes), strict=True))


def _sequential_pages(axes: tuple[_Axis, ...]) -> int:
    """Most pages held by a patch-by-patch run.

    From a patch to its last use the place grows by at most `reach` along each axis, so what is held when a patch is
    added lies within the span of ranks that these steps make. At the last use of the first patch all of them are held.
    """
    span, volume = 0, 1
    for axis in reversed(axes):
        span += axis.reach * volume
        volume *= axis.length
    return span + 1


def _wavefront_pages(axes: tuple[_Axis, ...]) -> int:
    """Most pages held by a round-by-round run: patches drawn up to a round, less those whose last use is before it.

    Rounds are sums over the axes, so the numbers of patches per round are convolutions, one axis at a time.
    """
    first, last = [1], [1]  # how many patches are drawn in each round, and how many are used for the last time
    for axis, step in zip(axes, _round_steps(axes), strict=True):
        first = _spread(first, step, axis.length)
        # Last uses along an axis: reach, reach + 1, ... length - 1, once each, and `reach` more at the edge.
        edge = [0] * (step * (axis.length - 1)) + [axis.reach * count for count in last]
        inner = [0] * (step * axis.reach) + _spread(last, step, axis.length - axis.reach)
        last = [a + b for a, b in zip(inner, edge, strict=True)]
    pages = peak = 0
    for drawn, left in zip(first, last, strict=True):
        pages += drawn
        peak = max(peak, pages)
        pages -= left
    return peak


def _spread(counts: list[int], step: int, times: int) -> list[int]:
    """The sum of `times` copies of counts, each `step` later than the one before, by a running sum."""
    if step == 0:
        return [times * count for count in counts]
    padded = counts + [0] * (step * (times - 1))
    total: list[int] = []
    for i, count in enumerate(padded):
        before = total[i - step] if i >= step else 0
        expired = padded[i - step * times] if i >= step * times else 0
        total.append(before + count - expired)
    return total
