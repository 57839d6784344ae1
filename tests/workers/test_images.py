"""Files of patches are lossless, those of results say how they were made."""

import numpy as np
import pytest

from workers.images import decode_webp, encode_webp, how_made
from workers.tile_engine import TileEngine


@pytest.mark.parametrize(("height", "width"), [(64, 64), (1, 1), (3, 64), (37, 5)])
def test_webp_gives_back_exactly_the_pixels_put_in(height: int, width: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    assert np.array_equal(decode_webp(encode_webp(pixels)), pixels)


def test_webp_takes_cropped_views_of_larger_patches() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)[:20, :33]
    assert np.array_equal(decode_webp(encode_webp(pixels)), pixels)


def test_a_results_file_says_how_to_draw_the_picture_again(bench) -> None:
    job = bench.job("job", 12, 7, seed=9, order="omega", prompt="日没の雪山 ❄")
    assert how_made(job, TileEngine().model) == {
        "nuwa:prompt": "日没の雪山 ❄",
        "nuwa:seed": "9",
        "nuwa:order": "omega",
        "nuwa:model": "tile",
        "nuwa:version": "tile-1",
        "parameters": job.request.model_dump_json(),
    }
