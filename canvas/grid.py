"""The canvas and its division: patch index <-> frame, row, column <-> pixel box; how far a patch looks."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple, Self


class Patch(NamedTuple):
    """One cell of a canvas, counted from 0: frames in time, rows downwards, columns to the right."""

    frame: int
    row: int
    column: int


class Box(NamedTuple):
    """A rectangle of one frame in pixels; right and bottom are exclusive."""

    left: int
    top: int
    right: int
    bottom: int


@dataclass(frozen=True)
class Extent:
    """How many frames, rows and columns away a patch looks, in each direction (0: not at all along that axis).

    Raises ValueError when one of them is not a whole number >= 0.  Source: paper.md 1.4, (e_f, e_h, e_w).
    """

    frames: int = 0
    rows: int = 1
    columns: int = 1

    def __post_init__(self) -> None:
        for field in ("frames", "rows", "columns"):
            require_whole(field, getattr(self, field), minimum=0)

    @property
    def max_nearby(self) -> int:
        """The most patches any patch can select, K: half of its own frame's window, all of the earlier frames' ones.

        Source: paper.md 1.4, K = ((2e_w+1)(2e_h+1) - 1)/2 + e_f (2e_w+1)(2e_h+1).
        """
        window = (2 * self.rows + 1) * (2 * self.columns + 1)
        return (window - 1) // 2 + self.frames * window

    def within(self, grid: "Grid") -> Self:
        """The same without frames that the grid does not have: what a still picture's patches can select."""
        return replace(self, frames=min(self.frames, grid.frames - 1))


@dataclass(frozen=True)
class Grid:
    """A canvas of frames x rows x columns square patches, each patch_px pixels wide and high.

    Iterating gives every patch by index: frame by frame, in a frame row by row, in a row column by column.
    Raises ValueError when a size is not a whole number >= 1.
    """

    frames: int
    rows: int
    columns: int
    patch_px: int

    def __post_init__(self) -> None:
        for field in ("frames", "rows", "columns", "patch_px"):
            require_whole(field, getattr(self, field), minimum=1)

    @classmethod
    def from_pixels(cls, width: int, height: int, patch_px: int, frames: int = 1) -> Self:
        """The smallest grid that covers width x height pixels; what sticks out on the right and below is cropped later.

        Raises ValueError when a size is not a whole number >= 1.  Source: paper.md 4.2, ceiling grid.
        """
        for field, value in (("width", width), ("height", height), ("patch_px", patch_px)):
            require_whole(field, value, minimum=1)
        return cls(frames, rows=-(-height // patch_px), columns=-(-width // patch_px), patch_px=patch_px)

    @property
    def width(self) -> int:
        """Pixels from the left edge to the right edge of the grid (a multiple of patch_px)."""
        return self.columns * self.patch_px

    @property
    def height(self) -> int:
        """Pixels from the top edge to the bottom edge of the grid (a multiple of patch_px)."""
        return self.rows * self.patch_px

    def __len__(self) -> int:
        return self.frames * self.rows * self.columns

    def __iter__(self) -> Iterator[Patch]:
        for frame in range(self.frames):
            for row in range(self.rows):
                for column in range(self.columns):
                    yield Patch(frame, row, column)

    def __contains__(self, patch: object) -> bool:
        return (
            isinstance(patch, Patch)
            and 0 <= patch.frame < self.frames
            and 0 <= patch.row < self.rows
            and 0 <= patch.column < self.columns
        )

    def require(self, patch: Patch) -> None:
        """Raises ValueError, naming the limits, when the patch is not in this grid."""
        if patch not in self:
            limits = f"frame 0..{self.frames - 1}, row 0..{self.rows - 1}, column 0..{self.columns - 1}"
            raise ValueError(f"patch {patch!r} is not in the grid ({limits})")

    def index(self, patch: Patch) -> int:
        """The patch's place in iteration order, in [0, len(grid)).  Raises ValueError when it is not in the grid."""
        self.require(patch)
        return (patch.frame * self.rows + patch.row) * self.columns + patch.column

    def patch(self, index: int) -> Patch:
        """The patch with that index.  Raises ValueError when index is outside [0, len(grid))."""
        if not 0 <= index < len(self):
            raise ValueError(f"index must be in 0..{len(self) - 1}, got {index!r}")
        line, column = divmod(index, self.columns)
        frame, row = divmod(line, self.rows)
        return Patch(frame, row, column)

    def touching(self, patch: Patch) -> list[Patch]:
        """The up to eight patches of its frame that share a side or a corner with this one, by rising grid index."""
        steps = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1) if (down, right) != (0, 0)]
        around = [Patch(patch.frame, patch.row + down, patch.column + right) for down, right in steps]
        return [other for other in around if other in self]

    def box(self, patch: Patch) -> Box:
        """Where the patch lies in its frame, in pixels.  Raises ValueError when it is not in the grid."""
        self.require(patch)
        left, top = patch.column * self.patch_px, patch.row * self.patch_px
        return Box(left, top, left + self.patch_px, top + self.patch_px)


def require_whole(field: str, value: object, minimum: int) -> None:
    """Raises ValueError, naming the field and the limit, unless value is an int (not a bool) >= minimum."""
    if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
        raise ValueError(f"{field} must be a whole number of at least {minimum}, got {value!r}")
