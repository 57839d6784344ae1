"""Reads finished pictures for the ranking of their group: rows in, how well they fit the prompt out."""

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray

from jobs.events import Fit
from model.scorer import fit, load_classifier

Rows = NDArray[np.uint8]  # [h, width, 3], RGB

SMALL_PX = 256  # a small copy has at least this many pixels along its shorter side, if the picture has them
LONG_PX = 2048  # and less than twice this many along its longer one


class PictureScorer:
    """The shipped classifier, on the processor: some 40 ms for a picture of 512x256, beside the engine.

    Raises FileNotFoundError when its weights are not there.
    """

    def __init__(self) -> None:
        self._classifier = load_classifier()

    def __call__(self, bands: Iterable[Rows], width: int, height: int, prompt: str | None) -> Fit:
        """bands: the picture's rows from the top, some at a time."""
        pixels = torch.from_numpy(small_copy(bands, width, height))
        found = fit(self._classifier, pixels.permute(2, 0, 1).float() / 127.5 - 1, prompt)
        score = None if found.score is None else round(found.score, 4)
        return Fit(score=score, asked=found.asked, read=found.read)


def small_copy(bands: Iterable[Rows], width: int, height: int) -> Rows:
    """A picture from its rows, some at a time, as means of blocks: small enough to read, whatever its size."""
    down, across = _factor(height, width), _factor(width, height)
    columns = np.arange(0, width, across)
    sums = np.zeros((-(-height // down), len(columns), 3), np.int64)
    row = 0
    for rows in bands:
        for pixels in rows:
            sums[row // down] += np.add.reduceat(pixels.astype(np.int64), columns)
            row += 1
    heights = np.minimum(down, height - np.arange(len(sums)) * down)
    widths = np.minimum(across, width - columns)
    small: Rows = (sums // (heights[:, None] * widths)[:, :, None]).astype(np.uint8)
    return small


def _factor(side: int, other: int) -> int:
    return max(1, min(side, other) // SMALL_PX, side // LONG_PX)
