"""Reading finished pictures: small copies are means of blocks, and come from bands of any height."""

import numpy as np
import pytest

from model.attributes import ATTRIBUTE_VALUES
from workers.scorer import PictureScorer, small_copy


def banded(pixels: np.ndarray, rows: int) -> list[np.ndarray]:
    return [pixels[top : top + rows] for top in range(0, len(pixels), rows)]


@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_a_small_copy_is_the_means_of_blocks(rows: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (777, 1030, 3), dtype=np.uint8)
    small = small_copy(banded(pixels, rows), 1030, 777)
    assert small.shape == (259, 344, 3)
    for row, column in ((0, 0), (100, 343), (258, 200)):
        block = pixels[3 * row : 3 * row + 3, 3 * column : 3 * column + 3]
        assert np.abs(small[row, column] - block.reshape(-1, 3).mean(0)).max() < 1


def test_a_picture_that_is_small_stays_as_it_is() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (256, 511, 3), dtype=np.uint8)
    assert np.array_equal(small_copy(banded(pixels, 100), 511, 256), pixels)


@pytest.mark.parametrize(("width", "height"), [(38_912, 4), (3, 20_000), (1, 1)])
def test_a_small_copy_of_anything_is_small(width: int, height: int) -> None:
    pixels = np.full((height, width, 3), 9, np.uint8)
    small = small_copy(banded(pixels, 64), width, height)
    assert max(small.shape) < 4096
    assert np.all(small == 9)


def test_the_shipped_reader_scores_what_it_is_asked() -> None:
    scorer = PictureScorer()
    night = np.zeros((256, 256, 3), np.uint8)
    dark, bright = (scorer([night], 256, 256, f"hills at {time}") for time in ("night", "noon"))
    assert dark.score is not None
    assert bright.score is not None
    assert dark.score > bright.score
    assert dark.asked == {"time_of_day": ("night",), "terrain": ("hills",)}
    assert dark.read.keys() == ATTRIBUTE_VALUES.keys()
    assert scorer([night], 256, 256, None).score is None
