"""The Arbitrary Direction Controller: how a picture lies on a grid, and the phases of (region, order) that draw it.

A task without given pixels is one phase. A given picture grows right with omega over the new columns, then left with
omega*, then down with zeta over the new rows, full width, then up with zeta*: corners come from the last two. Each
region holds the new strip and as many patches of the border as patches look across, replayed in the strip's order.
A region to repaint is one phase with a border of known patches all around it. A film is one phase, frame after frame;
a given picture is its frame 0.
Source: paper.md 2.3 and 4.2 (the composition is our reading of Fig. 6).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from canvas.grid import Box, Extent, Grid, Patch
from canvas.order import order_named
from canvas.plan import Phase, Plan, Region, choose_order

Side = Literal["right", "left", "bottom", "top"]

# The orders in which a side can grow, best first: in these the known patches come before the new ones.
GROWING: dict[Side, tuple[str, ...]] = {
    "right": ("omega", "zeta"),
    "left": ("omega_star", "zeta_star"),
    "bottom": ("zeta", "omega"),
    "top": ("zeta_star", "omega_star"),
}


@dataclass(frozen=True)
class Layout:
    """A picture of width x height pixels on a grid that may stick out on every side; what sticks out is cropped.

    origin: x and y of the picture's corner on the grid, in pixels, each less than a patch.
    given: the box of frame 0, in pixels of the picture, whose pixels are known; None when none are.
    hole: a box inside `given` that is to be drawn anew all the same, or at least some pixels of it.
    spared: patches in the hole that keep every pixel.
    """

    width: int
    height: int
    grid: Grid
    origin: tuple[int, int] = (0, 0)
    given: Box | None = None
    hole: Box | None = None
    spared: frozenset[Patch] = frozenset()

    def box(self, patch: Patch) -> Box:
        """Where the patch lies in the picture, in pixels, cropped to it."""
        (x, y), (left, top, right, bottom) = self.origin, self.grid.box(patch)
        return Box(max(left - x, 0), max(top - y, 0), min(right - x, self.width), min(bottom - y, self.height))

    @cached_property
    def known(self) -> Box | None:
        """`given` on the grid, in pixels. A side at the picture's edge goes on to the grid's: nobody sees that part."""
        if self.given is None:
            return None
        x, y = self.origin
        left, top, right, bottom = self.given
        return Box(
            left + x if left > 0 else 0,
            top + y if top > 0 else 0,
            right + x if right < self.width else self.grid.width,
            bottom + y if bottom < self.height else self.grid.height,
        )

    @cached_property
    def unknown(self) -> Box | None:
        """`hole` on the grid, in pixels."""
        if self.hole is None:
            return None
        (x, y), (left, top, right, bottom) = self.origin, self.hole
        return Box(left + x, top + y, right + x, bottom + y)

    @cached_property
    def core(self) -> Region | None:
        """The patches of frame 0 that `known` holds wholly, the hole not counted; None when there is none."""
        if self.known is None:
            return None
        px = self.grid.patch_px
        left, top, right, bottom = self.known
        rows, columns = range(-(-top // px), bottom // px), range(-(-left // px), right // px)
        return Region(range(1), rows, columns) if rows and columns else None


def lay_out(
    width: int,
    height: int,
    patch_px: int,
    given: Box | None = None,
    hole: Box | None = None,
    frames: int = 1,
    spared: Iterable[int] = (),
) -> Layout:
    """A picture, or a film of so many frames, on the smallest grid that covers it.

    Along each axis the grid's lines run through the edge of the given pixels beyond which more is to be drawn, so that
    the border lies between patches; without given pixels, from the picture's top left corner.
    spared: by grid index, patches in the hole that keep every pixel; at least one must be left to draw.
    Raises ValueError for sizes below 1, for boxes that are empty or not inside what holds them, and for given pixels
    that are less than a whole frame of a film.
    """
    picture = Box(0, 0, width, height)
    for inner, outer, name in ((given, picture, "the given pixels"), (hole, given, "the hole")):
        if inner is not None and (outer is None or not _holds(outer, inner)):
            raise ValueError(f"{name} must be a box inside {outer}, got {inner}")
    if frames > 1 and (hole is not None or given not in (None, picture)):
        raise ValueError(f"what is given of a film must be its whole first frame, {picture}, got {given}")
    x = y = 0
    if given is not None:
        x = _origin(given.left, given.right, width, patch_px)
        y = _origin(given.top, given.bottom, height, patch_px)
    grid = Grid.from_pixels(x + width, y + height, patch_px, frames)
    kept = frozenset(map(grid.patch, spared))
    layout = Layout(width, height, grid, (x, y), given, hole, kept)
    if kept:
        region = None if layout.unknown is None else _touched(layout.unknown, grid)
        if region is None or len(kept) >= len(region) or any(patch not in region for patch in kept):
            raise ValueError("spared patches must lie in the hole, and not be all of it")
    return layout


def plan_task(layout: Layout, extent: Extent, orders: Sequence[str]) -> Plan:
    """The plan of a layout whose phases are drawn in these orders, one name for each phase in turn.

    Raises ValueError when there are more phases than names or fewer, or a name is unknown.
    """
    regions = [region for _, region in _regions(layout, extent)]
    if len(orders) != len(regions):
        raise ValueError(f"this task has {len(regions)} phases, got {len(orders)} orders")
    phases = (Phase(region, order_named(name)) for region, name in zip(regions, orders, strict=True))
    return Plan(layout.grid, extent, tuple(phases), _given_patches(layout))


def choose_orders(layout: Layout, extent: Extent, allowed: Sequence[str], forced: str | None = None) -> tuple[str, ...]:
    """The order of each phase: the forced one, or the best that `allowed` holds.

    A side that grows takes the first of GROWING; any other phase follows the rule of canvas.plan.choose_order.
    Raises ValueError, saying why, when the forced order, or every allowed one, cannot grow a side that must grow.
    """
    chosen = []
    for side, region in _regions(layout, extent):
        names = [forced] if forced is not None else allowed
        if side is None:
            cells = Grid(len(region.frames), len(region.rows), len(region.columns), layout.grid.patch_px)
            chosen.append(choose_order(cells, extent, names).name)
            continue
        fitting = [name for name in GROWING[side] if name in names]
        if not fitting:
            able = " or ".join(GROWING[side])
            raise ValueError(f"cannot be {' or '.join(names)}: the picture grows on the {side}, which takes {able}")
        chosen.append(fitting[0])
    return tuple(chosen)


def _regions(layout: Layout, extent: Extent) -> list[tuple[Side | None, Region]]:
    """The region of each phase, in turn, with the side that it grows (None: it grows none)."""
    grid, core = layout.grid, layout.core
    if layout.known is None or (layout.unknown is None and layout.given == Box(0, 0, layout.width, layout.height)):
        return [(None, Region.whole(grid))]
    if layout.unknown is not None:
        return [(None, _bordered(_touched(layout.unknown, grid), extent, grid))]
    phases: list[tuple[Side | None, Region]] = []
    if core is None:  # too small to hold a whole patch: the patches it lies on come first, its tokens in them known
        core = _touched(layout.known, grid)
        phases.append((None, core))
    still, rows, columns = range(1), core.rows, core.columns
    if columns.stop < grid.columns:
        border = max(columns.start, columns.stop - extent.columns)
        phases.append(("right", Region(still, rows, range(border, grid.columns))))
    if columns.start > 0:
        border = min(grid.columns, columns.start + extent.columns)
        phases.append(("left", Region(still, rows, range(border))))
    across = range(grid.columns)
    if rows.stop < grid.rows:
        border = max(rows.start, rows.stop - extent.rows)
        phases.append(("bottom", Region(still, range(border, grid.rows), across)))
    if rows.start > 0:
        border = min(grid.rows, rows.start + extent.rows)
        phases.append(("top", Region(still, range(border), across)))
    return phases


def _given_patches(layout: Layout) -> frozenset[Patch]:
    """The patches whose every pixel is known."""
    if layout.core is None:
        return frozenset()
    redrawn = None if layout.unknown is None else _touched(layout.unknown, layout.grid)
    core = (Patch(0, row, column) for row in layout.core.rows for column in layout.core.columns)
    return frozenset(patch for patch in core if redrawn is None or patch not in redrawn or patch in layout.spared)


def _touched(box: Box, grid: Grid) -> Region:
    """The patches of frame 0 that hold at least one pixel of a box."""
    px = grid.patch_px
    return Region(range(1), range(box.top // px, -(-box.bottom // px)), range(box.left // px, -(-box.right // px)))


def _bordered(region: Region, extent: Extent, grid: Grid) -> Region:
    """A region and the patches that it looks at, or is looked at from, inside the grid."""
    rows, columns = region.rows, region.columns
    return Region(
        region.frames,
        range(max(0, rows.start - extent.rows), min(grid.rows, rows.stop + extent.rows)),
        range(max(0, columns.start - extent.columns), min(grid.columns, columns.stop + extent.columns)),
    )


def _origin(start: int, stop: int, length: int, patch_px: int) -> int:
    """Where the picture begins on the grid, along one axis, for given pixels [start, stop) of `length`."""
    if start == 0 and stop == length:
        return 0
    return -start % patch_px if start >= length - stop else -stop % patch_px


def _holds(outer: Box, inner: Box) -> bool:
    return (
        outer.left <= inner.left < inner.right <= outer.right and outer.top <= inner.top < inner.bottom <= outer.bottom
    )
