"""KnownPixels: the picture that a caller gave, as it lies on a job's grid; what is known stays as it is.

Of a film it is frame 0: of the others nothing is known.
"""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from canvas.controller import Layout
from canvas.grid import Box


class KnownPixels:
    """Given pixels [H, W, 3], RGB, at their place in a layout.

    Raises ValueError when their size is not that of the layout's given box.
    """

    def __init__(self, pixels: NDArray[np.uint8], layout: Layout) -> None:
        assert layout.given is not None, "a layout without given pixels"
        assert layout.known is not None
        left, top, right, bottom = layout.given
        if pixels.shape != (bottom - top, right - left, 3):
            raise ValueError(f"{right - left}x{bottom - top} pixels must be given, got {pixels.shape}")
        self.pixels = pixels
        self._given, self._hole = layout.given, layout.hole
        self._known, self._unknown = layout.known, layout.unknown
        self._corner = (left + layout.origin[0], top + layout.origin[1])

    def window(self, frame: int, box: Box) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Pixels [h, w, 3] of a box of the grid in a frame, and [h, w] which of them are known.

        The box may reach outside the grid. Where nothing is known the given pixels are mirrored.
        """
        rows = _mirrored(np.arange(box.top, box.bottom) - self._corner[1], self.pixels.shape[0])
        columns = _mirrored(np.arange(box.left, box.right) - self._corner[0], self.pixels.shape[1])
        known = _covers(self._known, box) & (frame == 0)
        if self._unknown is not None:
            known &= ~_covers(self._unknown, box)
        return self.pixels[rows[:, None], columns], known

    def keep(self, pixels: NDArray[np.uint8], frame: int, box: Box) -> NDArray[np.uint8]:
        """The pixels [h, w, 3] of a box of a frame with those that are known put in their place, byte for byte."""
        if frame > 0:
            return pixels
        inside = _covers(self._given, box)
        if self._hole is not None:
            inside &= ~_covers(self._hole, box)
        rows = np.clip(np.arange(box.top, box.bottom) - self._given.top, 0, self.pixels.shape[0] - 1)
        columns = np.clip(np.arange(box.left, box.right) - self._given.left, 0, self.pixels.shape[1] - 1)
        return np.where(inside[:, :, None], self.pixels[rows[:, None], columns], pixels)


def read_given(png: bytes, layout: Layout) -> KnownPixels:
    """The picture as the gateway stored it. Raises OSError when it is no image, ValueError when it has another size."""
    with Image.open(io.BytesIO(png)) as image:
        return KnownPixels(np.asarray(image.convert("RGB")), layout)


def _covers(outer: Box, box: Box) -> NDArray[np.bool_]:
    """[h, w]: which pixels of a box lie in another one."""
    rows, columns = np.arange(box.top, box.bottom), np.arange(box.left, box.right)
    inside: NDArray[np.bool_] = ((rows >= outer.top) & (rows < outer.bottom))[:, None] & (
        (columns >= outer.left) & (columns < outer.right)
    )
    return inside


def _mirrored(places: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """Any whole numbers to [0, length), counting back and forth: -1 is 1, length is length - 2."""
    period = max(2 * length - 2, 1)
    folded = np.mod(places, period)
    return np.minimum(folded, period - folded) if length > 1 else np.zeros_like(places)
