"""Files of patches and results: lossless, cropped, and saying how they were made."""

import io

import numpy as np
import pytest
from PIL import Image

from canvas.controller import lay_out
from canvas.grid import Box, Patch
from workers.images import Picture, decode_webp, encode_png, encode_webp
from workers.tile_engine import TileEngine


@pytest.mark.parametrize(("height", "width"), [(64, 64), (1, 1), (3, 64), (37, 5)])
def test_webp_gives_back_exactly_the_pixels_put_in(height: int, width: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    assert np.array_equal(decode_webp(encode_webp(pixels)), pixels)


def test_webp_takes_cropped_views_of_larger_patches() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)[:20, :33]
    assert np.array_equal(decode_webp(encode_webp(pixels)), pixels)


def test_png_says_how_to_draw_the_picture_again(bench) -> None:
    job = bench.job("job", 12, 7, seed=9, order="omega", prompt="日没の雪山 ❄")
    pixels = np.random.default_rng(0).integers(0, 256, (7, 12, 3), dtype=np.uint8)
    with Image.open(io.BytesIO(encode_png(pixels, job, TileEngine().model))) as image:
        assert np.array_equal(np.asarray(image), pixels)
        assert image.text == {
            "nuwa:prompt": "日没の雪山 ❄",
            "nuwa:seed": "9",
            "nuwa:order": "omega",
            "nuwa:model": "tile",
            "nuwa:version": "tile-1",
            "parameters": job.request.model_dump_json(),
        }


def test_patches_at_the_edge_are_cropped_to_the_picture() -> None:
    layout = lay_out(50, 20, 16)
    picture = Picture(layout)
    corner, patch_pixels = Patch(0, 1, 3), np.full((16, 16, 3), 7, np.uint8)
    assert layout.box(corner) == (48, 16, 50, 20)
    picture.place(corner, picture.crop(corner, patch_pixels))
    assert picture.pixels.sum() == 7 * 3 * 2 * 4
    assert (picture.pixels[16:, 48:] == 7).all()
    with pytest.raises(ValueError, match="takes 4x2 pixels"):
        picture.place(corner, patch_pixels)


def test_a_picture_that_begins_inside_its_first_patch_is_cropped_there_too() -> None:
    layout = lay_out(50, 20, 16, Box(0, 0, 21, 20))  # grows to the right: its border lies between patches
    picture, pixels = Picture(layout), np.arange(16 * 16 * 3, dtype=np.uint16).astype(np.uint8).reshape(16, 16, 3)
    assert layout.box(Patch(0, 0, 0)) == (0, 0, 5, 16)
    assert np.array_equal(picture.crop(Patch(0, 0, 0), pixels), pixels[:, 11:])
    assert np.array_equal(picture.crop(Patch(0, 1, 3), pixels), pixels[:4, :13])


def test_the_pictures_hash_is_that_of_its_rows() -> None:
    """The hash of 2x1 black pixels is that of six zero bytes, computed once with sha256sum."""
    assert Picture(lay_out(2, 1, 16)).sha256() == ("b0f66adc83641586656866813fd9dd0b8ebb63796075661ba45d1aa8089e1d44")
