"""PatchSpool: the pixels of a picture or film while it is drawn, in files instead of memory."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from canvas.controller import Layout
from canvas.grid import Patch

Pixels = NDArray[np.uint8]  # [h, w, 3], RGB

BAND_BYTES = 2**20  # about; one row of pixels at least


class PatchSpool:
    """Patches in, in any order; the rows of a frame out. In memory is never more than a band of BAND_BYTES.

    Orders that go column by column complete no row before the last column, so rows cannot be passed on as they come:
    patches of every order take the same way, through a file for each frame. These files have no names and vanish with
    the process.  folder: where they are, with room for 3 bytes a pixel; None for the system's, which may be memory.
    """

    def __init__(self, layout: Layout, folder: Path | None = None) -> None:
        self._layout, self._folder = layout, folder
        self._row_bytes = layout.width * 3
        self._files: dict[int, IO[bytes]] = {}

    def crop(self, patch: Patch, pixels: Pixels) -> Pixels:
        """The part of a whole patch's pixels [patch_px, patch_px, 3] that lies in the picture."""
        box, whole, (x, y) = self._layout.box(patch), self._layout.grid.box(patch), self._layout.origin
        left, top = box.left + x - whole.left, box.top + y - whole.top
        return pixels[top : top + box.bottom - box.top, left : left + box.right - box.left]

    def place(self, patch: Patch, cropped: Pixels) -> None:
        """cropped: [h, w, 3], all of the patch that lies in the picture; earlier pixels of it are replaced.

        Raises ValueError when the pixels do not fill the patch's box exactly, OSError when there is no room.
        """
        left, top, right, bottom = self._layout.box(patch)
        if cropped.shape != (bottom - top, right - left, 3) or cropped.dtype != np.uint8:
            raise ValueError(f"patch {patch} takes {bottom - top}x{right - left} pixels, got {cropped.shape}")
        descriptor = self._file(patch.frame).fileno()
        for row, pixels in enumerate(np.ascontiguousarray(cropped), start=top):
            if os.pwrite(descriptor, pixels, row * self._row_bytes + left * 3) < pixels.nbytes:
                raise OSError("the folder of unfinished pictures is full")

    def bands(self, frame: int = 0) -> Iterator[Pixels]:
        """The rows of a frame from the top, some [h, width, 3] at a time; black where nothing was placed."""
        file, at_once = self._file(frame), max(1, BAND_BYTES // self._row_bytes)
        for top in range(0, self._layout.height, at_once):
            yield self._read(file, top, min(at_once, self._layout.height - top))

    def frame(self, frame: int = 0) -> Pixels:
        """[height, width, 3]: all of a frame, in memory."""
        return self._read(self._file(frame), 0, self._layout.height)

    def forget(self, frame: int) -> None:
        """Give the room of a frame back."""
        if frame in self._files:
            self._files.pop(frame).close()

    def close(self) -> None:
        """Forget all frames."""
        for frame in list(self._files):
            self.forget(frame)

    def _read(self, file: IO[bytes], top: int, rows: int) -> Pixels:
        file.seek(top * self._row_bytes)
        return np.frombuffer(file.read(rows * self._row_bytes), np.uint8).reshape(rows, self._layout.width, 3)

    def _file(self, frame: int) -> IO[bytes]:
        if frame not in self._files:
            self._files[frame] = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - closed by forget()
            self._files[frame].truncate(self._layout.height * self._row_bytes)  # a hole: takes no room yet
        return self._files[frame]
