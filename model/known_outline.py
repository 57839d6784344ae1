"""What a canvas with known pixels begins with: a sketch that goes on from them, and what is known of its drafts.

Sketches are drawn from their top left corner on, so one that is known elsewhere cannot be drawn around that. It is not
drawn at all: each pixel beyond the known ones is the nearest of them, blurred the more the further off it is, so that
skies and horizons go on. The drafts are drawn, to this sketch and around what is known, and give shapes to its shades.
"""

from dataclasses import replace
from itertools import product

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from canvas.grid import Box, Grid
from canvas.plan import Plan
from model.known import KnownPixels
from model.sketch import draft_grids

MOST_PIXELS = 1 << 21  # of a canvas as it is read: larger ones are read squeezed
TOGETHER = 32  # patches that are read at a time
SHORTER_PX, LONGER_PX = 64, 1024  # sides of a canvas as it is gone on with
BLUR = 0.5  # standard deviation of the blur for each pixel of distance
WIDEST_BLUR = 1 / 8  # of the shorter side
BLURS = 6  # of rising width, between which a pixel's is found


def has_gaps(plan: Plan) -> bool:
    """Whether drafts can tell something of the plan's first frame beside what is given."""
    return any(patch not in plan.given for patch in replace(plan.grid, frames=1)) and bool(draft_grids(plan.grid))


class KnownWhole:
    """The known pixels of a canvas's first frame, read once, for pictures of the whole in any size."""

    def __init__(self, known: KnownPixels, grid: Grid) -> None:
        side = grid.patch_px
        while side > 1 and grid.rows * grid.columns * side**2 > MOST_PIXELS:
            side //= 2
        # [4, h, w]: colours times the known share of each pixel, and that share
        self._sums = torch.empty(4, grid.rows * side, grid.columns * side)
        for row, column in product(range(grid.rows), range(0, grid.columns, TOGETHER)):
            columns, px = min(TOGETHER, grid.columns - column), grid.patch_px
            box = Box(column * px, row * px, (column + columns) * px, (row + 1) * px)
            pixels, mask = (torch.from_numpy(array) for array in known.window(0, box))
            share = mask[None].float()
            sums = torch.cat([(pixels.permute(2, 0, 1).float() / 127.5 - 1) * share, share])
            place = np.s_[:, row * side : (row + 1) * side, column * side : (column + columns) * side]
            self._sums[place] = F.avg_pool2d(sums, px // side)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is known, as where all of a picture is painted over."""
        return not self._sums[3].any()

    def at(self, height: int, width: int) -> tuple[Tensor, Tensor]:
        """Pixels [3, height, width] in [-1, 1], and [height, width] which of them are known wholly."""
        sums = F.adaptive_avg_pool2d(self._sums, (height, width))
        return sums[:3] / sums[3:].clamp_min(1e-6), sums[3] > 1 - 1e-3

    def continued(self) -> Tensor:
        """The known pixels, and what lies beyond them as it may go on: [3, h, w] in [-1, 1], in the canvas's shape.

        Not of one that is_empty.
        """
        height, width = self._sums.shape[1:]
        scale = min(SHORTER_PX / min(height, width), LONGER_PX / max(height, width))
        pixels, known = self.at(max(1, round(height * scale)), max(1, round(width * scale)))
        if not known.any():  # so few that none fills a pixel
            known = self.at(*known.shape)[0].abs().sum(0) > 0
        distance, (rows, columns) = ndimage.distance_transform_edt(~known.numpy(), return_indices=True)
        nearest = pixels.numpy()[:, rows, columns]
        widest = min(known.shape) * WIDEST_BLUR
        widths = [widest * 2.0 ** (i - BLURS + 1) for i in range(BLURS)]
        blurred = np.stack(
            [nearest, *(ndimage.gaussian_filter(nearest, (0, width, width), mode="nearest") for width in widths)]
        )
        place = np.interp(BLUR * distance, [0.0, *widths], np.arange(BLURS + 1))
        lower = np.minimum(place.astype(int), BLURS - 1)
        share = (place - lower)[None]
        rows, columns = np.indices(known.shape)
        made = blurred[lower, :, rows, columns], blurred[lower + 1, :, rows, columns]
        below, above = (np.moveaxis(array, -1, 0) for array in made)
        return torch.where(known, pixels, torch.from_numpy(below * (1 - share) + above * share).float())


class Squeezed:
    """What is known of a draft (model.known.KnownPixels).

    Where nothing is, its pixels are those of what it follows: they are what the encoder sees beyond the border.
    """

    def __init__(self, known: KnownWhole, grid: Grid, followed: Tensor) -> None:
        """grid: the draft's.  followed: [1, 3, h, w] in [-1, 1]."""
        pixels, mask = known.at(grid.height, grid.width)
        around = F.interpolate(followed.float().cpu(), mask.shape, mode="bilinear", align_corners=False)[0]
        shown = torch.where(mask, pixels, around).clamp(-1, 1)
        self._pixels: NDArray[np.uint8] = ((shown + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
        self._known: NDArray[np.bool_] = mask.numpy()

    def window(self, frame: int, box: Box) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """As KnownPixels has it; beyond the draft nothing is known, and its outermost pixels go on."""
        height, width = self._known.shape
        rows, columns = np.arange(box.top, box.bottom), np.arange(box.left, box.right)
        places = rows.clip(0, height - 1)[:, None], columns.clip(0, width - 1)
        inside = ((rows >= 0) & (rows < height))[:, None] & (columns >= 0) & (columns < width)
        return self._pixels[places], self._known[places] & inside
