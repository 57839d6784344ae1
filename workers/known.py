"""KnownPixels: the picture that a caller gave, as it lies on a job's grid; what is known stays as it is.

Of a film it is frame 0: of the others nothing is known.
"""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from canvas.controller import Layout
from canvas.grid import Box
from workers.filling import filled


class KnownPixels:
    """Given pixels [H, W, 3], RGB, at their place in a layout.

    mask: [H, W], True where a picture with a hole is drawn anew; None for all of the hole.
    Raises ValueError when their size is not that of the layout's given box.
    """

    def __init__(self, pixels: NDArray[np.uint8], layout: Layout, mask: NDArray[np.bool_] | None = None) -> None:
        assert layout.given is not None, "a layout without given pixels"
        assert layout.known is not None
        left, top, right, bottom = layout.given
        for array in (pixels,) if mask is None else (pixels, mask):
            if array.shape[:2] != (bottom - top, right - left):
                raise ValueError(f"{right - left}x{bottom - top} pixels must be given, got {array.shape}")
        self._given, self._known = layout.given, layout.known
        self._redrawn = _in_hole(layout) if mask is None else mask
        # What is drawn anew is not to be seen by anybody, neither by the encoder nor by pixels that meet known ones.
        self.pixels = pixels if self._redrawn is None else filled(pixels, self._redrawn)
        self._corner = (left + layout.origin[0], top + layout.origin[1])

    def window(self, frame: int, box: Box) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Pixels [h, w, 3] of a box of the grid in a frame, and [h, w] which of them are known.

        The box may reach outside the grid. Where nothing is known the given pixels are mirrored, in a hole filled in.
        """
        rows = np.arange(box.top, box.bottom) - self._corner[1]
        columns = np.arange(box.left, box.right) - self._corner[0]
        known = _covers(self._known, box) & (frame == 0) & ~self._is_redrawn(rows, columns)
        height, width = self.pixels.shape[:2]
        return self.pixels[_mirrored(rows, height)[:, None], _mirrored(columns, width)], known

    def keep(self, pixels: NDArray[np.uint8], frame: int, box: Box) -> NDArray[np.uint8]:
        """The pixels [h, w, 3] of a box of a frame with those that are known put in their place, byte for byte."""
        if frame > 0:
            return pixels
        rows = np.arange(box.top, box.bottom) - self._given.top
        columns = np.arange(box.left, box.right) - self._given.left
        inside = _covers(self._given, box) & ~self._is_redrawn(rows, columns)
        height, width = self.pixels.shape[:2]
        own = self.pixels[np.clip(rows, 0, height - 1)[:, None], np.clip(columns, 0, width - 1)]
        return np.where(inside[:, :, None], own, pixels)

    def _is_redrawn(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.bool_]:
        """[rows, columns] of the given picture, which may lie outside it: which are drawn anew all the same."""
        if self._redrawn is None:
            return np.zeros((len(rows), len(columns)), np.bool_)
        height, width = self._redrawn.shape
        is_inside = ((rows >= 0) & (rows < height))[:, None] & ((columns >= 0) & (columns < width))
        places = np.clip(rows, 0, height - 1)[:, None], np.clip(columns, 0, width - 1)
        redrawn: NDArray[np.bool_] = is_inside & self._redrawn[places]
        return redrawn


def read_given(png: bytes, layout: Layout, mask_png: bytes | None = None) -> KnownPixels:
    """Picture and mask as the gateway stored them. Raises OSError for what is no image, ValueError for another size."""
    mask = None
    if mask_png is not None:
        with Image.open(io.BytesIO(mask_png)) as image:
            mask = np.asarray(image.convert("1"))
    with Image.open(io.BytesIO(png)) as image:
        return KnownPixels(np.asarray(image.convert("RGB")), layout, mask)


def _in_hole(layout: Layout) -> NDArray[np.bool_] | None:
    """[H, W] of the given picture: which of its pixels lie in the layout's hole; None where there is none."""
    if layout.hole is None or layout.given is None:
        return None
    left, top, right, bottom = layout.given
    inside = np.zeros((bottom - top, right - left), np.bool_)
    hole = layout.hole
    inside[hole.top - top : hole.bottom - top, hole.left - left : hole.right - left] = True
    return inside


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
