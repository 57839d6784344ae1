"""Pixels that nobody is to see, filled in from those around them."""

from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

GREY = 128  # where nothing is known far and wide
AROUND_PX = 64  # as far as anybody looks beyond known pixels
TILE_PX = 512  # pictures may be large, so they are filled in piece by piece


def filled(pixels: NDArray[np.uint8], gone: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """A picture [H, W, 3] whose pixels under `gone` [H, W] are each like the nearest of the others, which stay."""
    result = pixels.copy()
    for top, left in product(*(range(0, side, TILE_PX) for side in gone.shape)):
        tile = np.s_[top : top + TILE_PX, left : left + TILE_PX]
        if not gone[tile].any():
            continue
        above, before = min(top, AROUND_PX), min(left, AROUND_PX)
        around = np.s_[top - above : top + TILE_PX + AROUND_PX, left - before : left + TILE_PX + AROUND_PX]
        if gone[around].all():
            result[tile] = GREY
            continue
        nearest = ndimage.distance_transform_edt(gone[around], return_distances=False, return_indices=True)
        rows, columns = nearest[:, above : above + TILE_PX, before : before + TILE_PX]
        result[tile] = pixels[around][rows, columns]
    return result
