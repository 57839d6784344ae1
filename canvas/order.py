"""Orders: the sequence in which patches (and the tokens in them) are drawn, and what follows from it.

A patch comes before another when its frame is earlier, then when it is earlier along the slow axis, then along the
fast one. Only differences of coordinates count, so one list of offsets per (order, extent) serves every patch of
every canvas.  Source: paper.md 1.4 and 2.2; orders are data, so the other four of the eight need no new code.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from canvas.grid import Extent, Grid, Patch

Axis = Literal["row", "column"]
Sign = Literal[1, -1]


@dataclass(frozen=True)
class Order:
    """A scan of the canvas: frames forward, then axes[0] slowly, then axes[1] fast.

    row_sign, column_sign: 1 = top to bottom, left to right; -1 = the other way.
    Raises ValueError when axes are not row and column, or a sign is not 1 or -1.
    """

    name: str
    axes: tuple[Axis, Axis]
    row_sign: Sign
    column_sign: Sign

    def __post_init__(self) -> None:
        if sorted(self.axes) != ["column", "row"]:
            raise ValueError(f"axes must be row and column, each once, got {self.axes!r}")
        for field, sign in (("row_sign", self.row_sign), ("column_sign", self.column_sign)):
            if sign not in (1, -1):
                raise ValueError(f"{field} must be 1 or -1, got {sign!r}")

    def rank(self, grid: Grid, patch: Patch) -> int:
        """The patch's place in this order, in [0, len(grid)).  Raises ValueError when it is not in the grid."""
        grid.require(patch)
        row = patch.row if self.row_sign == 1 else grid.rows - 1 - patch.row
        column = patch.column if self.column_sign == 1 else grid.columns - 1 - patch.column
        in_frame = row * grid.columns + column if self.axes[0] == "row" else column * grid.rows + row
        return patch.frame * grid.rows * grid.columns + in_frame

    def sequence(self, grid: Grid) -> Iterator[Patch]:
        """Every patch of the grid by rising rank."""
        return self.walk(range(grid.frames), range(grid.rows), range(grid.columns))

    def walk(self, frames: range, rows: range, columns: range) -> Iterator[Patch]:
        """The patches of a cuboid of cells in this order; the ranges are rising, with step 1."""
        rows, columns = rows[:: self.row_sign], columns[:: self.column_sign]
        for frame in frames:
            if self.axes[0] == "row":
                yield from (Patch(frame, row, column) for row in rows for column in columns)
            else:
                yield from (Patch(frame, row, column) for column in columns for row in rows)

    def precedes(self, a: Patch, b: Patch) -> bool:
        """Whether a is drawn before b, on any canvas that holds both; False for a patch and itself."""
        return self._key(*a) < self._key(*b)

    def token_scan(self, m: int) -> tuple[tuple[int, int], ...]:
        """(row, column) of the m*m tokens of a patch in drawing order: the scan of the patches, one level down.

        Raises ValueError when m < 1.  Source: paper.md 2.2, last column of the table.
        """
        tokens = Grid(frames=1, rows=m, columns=m, patch_px=1)
        return tuple((token.row, token.column) for token in self.sequence(tokens))

    def nearby(self, grid: Grid, extent: Extent, patch: Patch) -> tuple[Patch, ...]:
        """Select: the patches inside the extent, inside the grid and of lower rank, by rising grid index.

        Raises ValueError when the patch is not in the grid.  Source: paper.md 1.4.
        """
        grid.require(patch)
        return _inside(grid, patch, _earlier_offsets(self, extent))

    def dependants(self, grid: Grid, extent: Extent, patch: Patch) -> tuple[Patch, ...]:
        """The patches whose nearby list contains this one, by rising grid index.

        Raises ValueError when the patch is not in the grid.
        """
        grid.require(patch)
        return _inside(grid, patch, _later_offsets(self, extent))

    def last_use(self, grid: Grid, extent: Extent, patch: Patch) -> Patch:
        """The patch, last by rank, that still selects this one; the patch itself when none does.

        The window is a box, so its far corner, clipped at the canvas, is the last: no list is built.
        Raises ValueError when the patch is not in the grid.  Source: paper.md 1.6, Remove.
        """
        grid.require(patch)
        return Patch(
            min(patch.frame + extent.frames, grid.frames - 1),
            _clip(patch.row + self.row_sign * extent.rows, grid.rows),
            _clip(patch.column + self.column_sign * extent.columns, grid.columns),
        )

    def _key(self, frame: int, row: int, column: int) -> tuple[int, int, int]:
        """Sorts patches, or offsets between patches, into this order."""
        row, column = row * self.row_sign, column * self.column_sign
        return (frame, row, column) if self.axes[0] == "row" else (frame, column, row)


OMEGA = Order("omega", ("column", "row"), 1, 1)
OMEGA_STAR = Order("omega_star", ("column", "row"), -1, -1)
ZETA = Order("zeta", ("row", "column"), 1, 1)
ZETA_STAR = Order("zeta_star", ("row", "column"), -1, -1)
ORDERS = {order.name: order for order in (OMEGA, OMEGA_STAR, ZETA, ZETA_STAR)}


def order_named(name: str) -> Order:
    """The basic order of that name.  Raises ValueError, listing the names, when there is none."""
    if name not in ORDERS:
        raise ValueError(f"order must be one of {', '.join(ORDERS)}, got {name!r}")
    return ORDERS[name]


def ready(grid: Grid, order: Order, extent: Extent, done: Collection[Patch]) -> list[Patch]:
    """The patches that can be drawn now: not done, all their nearby patches done; by rising rank.

    Looks at the whole grid; whoever finishes patches one by one keeps count with Order.dependants instead.
    Raises ValueError when a done patch is not in the grid.
    """
    finished = done if isinstance(done, (set, frozenset)) else frozenset(done)
    for patch in finished:
        grid.require(patch)
    return [
        patch
        for patch in order.sequence(grid)
        if patch not in finished and all(near in finished for near in order.nearby(grid, extent, patch))
    ]


@lru_cache(maxsize=64)
def _earlier_offsets(order: Order, extent: Extent) -> tuple[tuple[int, int, int], ...]:
    """(frame, row, column) offsets of the window that come before its middle, by rising grid index."""
    return tuple(
        (frame, row, column)
        for frame in range(-extent.frames, 1)
        for row in range(-extent.rows, extent.rows + 1)
        for column in range(-extent.columns, extent.columns + 1)
        if order._key(frame, row, column) < (0, 0, 0)
    )


@lru_cache(maxsize=64)
def _later_offsets(order: Order, extent: Extent) -> tuple[tuple[int, int, int], ...]:
    """The same seen from the other end: where the patches are that look at the middle, by rising grid index."""
    return tuple((-frame, -row, -column) for frame, row, column in reversed(_earlier_offsets(order, extent)))


def _inside(grid: Grid, patch: Patch, offsets: tuple[tuple[int, int, int], ...]) -> tuple[Patch, ...]:
    """The patches at these offsets from a patch, without those outside the canvas (it is clipped, never wrapped)."""
    shifted = (Patch(patch.frame + frame, patch.row + row, patch.column + column) for frame, row, column in offsets)
    return tuple(other for other in shifted if other in grid)


def _clip(value: int, length: int) -> int:
    return min(max(value, 0), length - 1)


def wavefront(grid: Grid, order: Order, extent: Extent) -> Iterator[list[Patch]]:
    """The patches of a canvas in as few rounds as can be: those of a round look at none of the same round."""
    done: set[Patch] = set()
    while todo := ready(grid, order, extent, done):
        yield todo
        done.update(todo)
