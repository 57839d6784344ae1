"""PNG by bands: what any reader makes of the file, what it remembers, and how little memory it takes."""

import hashlib
import io
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from workers.bands import BandedPng, write_png


def random_rows(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def read(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        assert (image.format, image.mode) == ("PNG", "RGB")
        image.load()  # checks every chunk's sum
        return np.asarray(image)


def as_bands(pixels: np.ndarray, cuts: list[int]) -> bytes:
    out = io.BytesIO()
    png = BandedPng(out, pixels.shape[1], pixels.shape[0])
    for start, stop in zip([0, *cuts], [*cuts, len(pixels)], strict=True):
        png.add(pixels[start:stop])
    png.close()
    return out.getvalue()


@settings(max_examples=60, deadline=None)
@given(data=st.data(), height=st.integers(1, 40), width=st.integers(1, 30), smooth=st.booleans())
def test_readers_get_exactly_the_rows_put_in_however_they_were_cut(data, height, width, smooth) -> None:
    pixels = random_rows(height, width)
    if smooth:
        pixels = np.cumsum(pixels % 3, axis=data.draw(st.integers(0, 1)), dtype=np.uint8)
    cuts = sorted(data.draw(st.lists(st.integers(0, height), max_size=4)))
    assert np.array_equal(read(as_bands(pixels, cuts)), pixels)


def test_rows_wider_than_a_slice_and_views_are_written_alike() -> None:
    wide = random_rows(3, 400_000)  # a row of more than a megabyte
    assert np.array_equal(read(as_bands(wide, [1])), wide)
    view = random_rows(20, 90)[:, 5:70]
    assert np.array_equal(read(as_bands(view, [7])), view)


def test_equal_rows_give_an_equal_file() -> None:
    pixels = random_rows(30, 20)
    assert as_bands(pixels, [4, 9]) == as_bands(pixels, [4, 9])


def test_the_file_holds_the_texts_and_the_hash_is_that_of_the_rows() -> None:
    pixels, out = random_rows(9, 7), io.BytesIO()
    info = {"nuwa:prompt": "日没の雪山 ❄", "nuwa:seed": "9", "nuwa:nothing": ""}
    assert write_png(out, 7, 9, (pixels[i : i + 2] for i in range(0, 9, 2)), info) == (
        hashlib.sha256(pixels.tobytes()).hexdigest()
    )
    with Image.open(out) as image:
        assert image.text == info
        assert np.array_equal(np.asarray(image), pixels)


def test_smooth_pictures_are_no_larger_than_pillow_writes_them() -> None:
    y, x = np.mgrid[:256, :512]
    noise = np.random.default_rng(0).integers(0, 3, (256, 512, 3))
    pixels = (np.stack([x // 4 + y // 3, 255 - x // 3, y], axis=-1) + noise).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    assert len(as_bands(pixels, [64, 128])) < 1.05 * len(out.getvalue())


def test_the_widest_picture_of_the_paper_takes_little_memory(tmp_path: Path) -> None:
    width, height = 38_912, 512
    band = np.broadcast_to(np.arange(width)[:, None] // 150, (8, width, 3)).astype(np.uint8)
    with (tmp_path / "wide.png").open("wb") as file:
        png = BandedPng(file, width, height)
        tracemalloc.start()
        for _ in range(height // 8):
            png.add(band)
        png.close()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 12e6, "the picture is 60 MB"
    with Image.open(tmp_path / "wide.png") as image:
        assert image.size == (width, height)
        assert np.array_equal(np.asarray(image)[-8:], band)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.zeros((1, 4, 3), np.uint8), r"rows must be uint8 \[h, 5, 3\], got uint8 \[1, 4, 3\]"),
        (np.zeros((1, 5, 3)), "got float64"),
        (np.zeros((3, 5, 3), np.uint8), "the picture has 2 rows, got 3"),
    ],
)
def test_rows_that_are_not_the_pictures_are_refused(rows: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BandedPng(io.BytesIO(), 5, 2).add(rows)


def test_a_picture_with_missing_rows_is_not_finished() -> None:
    png = BandedPng(io.BytesIO(), 5, 2)
    png.add(np.zeros((1, 5, 3), np.uint8))
    with pytest.raises(ValueError, match="has 2 rows, got only 1"):
        png.close()


@pytest.mark.parametrize(("size", "message"), [((0, 5), "width must be"), ((5, 2**31), "height must be at most")])
def test_sides_are_checked(size: tuple[int, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BandedPng(io.BytesIO(), *size)
