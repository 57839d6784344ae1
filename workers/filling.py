"""Pixels that nobody is to see, filled in from those around them."""

import numpy as np
from numpy.typing import NDArray

GREY = 128  # where nothing is known at all
AROUND_PX = 64  # what lies further from all that is filled in does not count


def filled(pixels: NDArray[np.uint8], gone: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """A picture [H, W, 3] whose pixels under `gone` [H, W] are made of the others alone: next to them alike, smooth
    further in. The others stay as they are. In whole numbers and one colour at a time: given pictures may be large.
    """
    result = pixels.copy()
    rows, columns = (np.flatnonzero(gone.any(axis)) for axis in (1, 0))
    if len(rows) == 0:
        return result
    top, left = max(0, rows[0] - AROUND_PX), max(0, columns[0] - AROUND_PX)
    near = np.s_[top : rows[-1] + AROUND_PX, left : columns[-1] + AROUND_PX]
    part, missing = result[near], gone[near]
    for colour in range(pixels.shape[2]):
        part[..., colour] = _pulled(part[..., colour], ~missing)
    return result


def _pulled(values: NDArray[np.uint8], known: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Values [H, W] with unknown ones taken from a picture of half the size, of means of what is known, and so on.

    Source: push-pull, Gortler et al. 1996, The Lumigraph, section 3.4.
    """
    if known.all():
        return values
    height, width = values.shape
    if height == width == 1:
        return np.full_like(values, GREY)
    padding = ((0, height % 2), (0, width % 2))
    weights, sums = (_blocks(np.pad(array, padding)) for array in (known.view(np.uint8), values * known))
    means = ((sums + weights // 2) // np.maximum(weights, 1)).astype(np.uint8)
    coarse = _pulled(means, weights > 0)
    return np.where(known, values, coarse.repeat(2, 0).repeat(2, 1)[:height, :width])


def _blocks(values: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Sums of two by two; both sides are even."""
    rows = values[0::2].astype(np.uint16) + values[1::2]
    sums: NDArray[np.uint16] = rows[:, 0::2] + rows[:, 1::2]
    return sums
