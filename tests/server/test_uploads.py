"""Pictures that callers send: every kind becomes upright RGB, every bad one a refusal that names it."""

import base64
import contextlib
import io
import struct
import zlib
from typing import Any

import pytest
from PIL import Image

from server.errors import InvalidRequest
from server.uploads import FILE_MAX_BYTES, FORMATS, Upload, from_base64, read_picture

MAX_PIXELS = 1_000_000


def picture(mode: str = "RGB", size: tuple[int, int] = (40, 24)) -> Image.Image:
    gradient = Image.linear_gradient("L").resize(size)
    colours = Image.merge("RGB", [gradient, gradient.transpose(Image.Transpose.ROTATE_180), gradient])
    return colours.convert(mode)


def saved(image: Image.Image, name: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, name, **options)
    return out.getvalue()


def read(data: bytes, media_type: str = "", max_pixels: int = MAX_PIXELS) -> Image.Image:
    given = read_picture(Upload(data, media_type), max_pixels)
    image = Image.open(io.BytesIO(given.png))
    assert image.mode == "RGB"
    assert image.size == (given.width, given.height)
    return image


@pytest.mark.parametrize("name", FORMATS)
def test_pixels_are_those_that_any_program_sees(name: str) -> None:
    data = saved(picture(), name)
    with Image.open(io.BytesIO(data)) as plain:
        assert read(data).tobytes() == plain.convert("RGB").tobytes()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
def test_other_colours_become_rgb(mode: str) -> None:
    name = "JPEG" if mode == "CMYK" else "PNG"
    result = read(saved(picture(mode), name))
    wanted = picture(mode).convert("RGB")
    difference = [abs(a - b) for a, b in zip(result.tobytes(), wanted.tobytes(), strict=True)]
    assert sum(difference) / len(difference) < 3, "JPEG loses a little"


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    deep = Image.new("I;16", (3, 1))
    for x, value in enumerate((0, 0x8080, 0xFFFF)):
        deep.putpixel((x, 0), value)
    assert [pixel[0] for pixel in read(saved(deep)).get_flattened_data()] == [0, 128, 255]


def test_transparency_is_laid_on_white() -> None:
    clear = Image.new("RGBA", (2, 1), (255, 0, 0, 0))
    clear.putpixel((1, 0), (255, 0, 0, 255))
    assert list(read(saved(clear)).get_flattened_data()) == [(255, 255, 255), (255, 0, 0)]
    palette = Image.new("P", (1, 1), 0)
    assert list(read(saved(palette, transparency=0)).get_flattened_data()) == [(255, 255, 255)]


def test_a_photograph_taken_sideways_stands_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    assert read(saved(picture(), "JPEG", exif=exif.tobytes())).size == (24, 40)


def png_of_size(width: int, height: int) -> bytes:
    """A PNG whose header promises a size, and whose pixels are those of another one."""
    whole = saved(picture(size=(1, 1)))
    header = struct.pack(">II", width, height) + whole[24:29]
    return whole[:16] + header + struct.pack(">I", zlib.crc32(b"IHDR" + header)) + whole[33:]


def frames(name: str) -> bytes:
    return saved(picture(), name, save_all=True, append_images=[picture("L").convert("RGB")])


BAD = {
    "no bytes": (b"", "", "got an empty file"),
    "a text": (b"not a picture", "", "must be a PNG, JPEG, WebP or AVIF file"),
    "a text called a picture": (b"not a picture", "image/png", "must be a PNG, JPEG, WebP or AVIF file"),
    "another format": (saved(picture(), "BMP"), "", "must be a PNG, JPEG, WebP or AVIF file"),
    "a gif": (saved(picture(), "GIF"), "image/gif", "must be a PNG, JPEG, WebP or AVIF file"),
    "called what it is not": (saved(picture(), "JPEG"), "image/png", "got image/png that holds JPEG"),
    "a header alone": (saved(picture())[:40], "", "must be"),
    "cut off PNG": (saved(picture(size=(200, 200)))[:-100], "", "cut off or damaged"),
    "cut off JPEG": (saved(picture(size=(200, 200)), "JPEG")[:-100], "", "cut off or damaged"),
    "cut off WebP": (saved(picture(size=(200, 200)), "WEBP")[:-50], "", "must be"),
    "cut off AVIF": (saved(picture(size=(200, 200)), "AVIF")[:-50], "", "must be"),
    "a bomb": (png_of_size(50_000, 50_000), "", "must hold at most 1000000 pixels (got 50000 x 50000)"),
    "a very long one": (png_of_size(70_000, 1), "", "must be at most 65536 pixels wide and high"),
    "damaged pixels": (saved(picture())[:60] + b"\0" * 20 + saved(picture())[80:], "", "cut off or damaged"),
    "an animated PNG": (frames("PNG"), "", "must be a still picture (got 2 frames)"),
    "an animated WebP": (frames("WEBP"), "", "must be a still picture (got 2 frames)"),
    "an animated AVIF": (frames("AVIF"), "", "must be a still picture (got 2 frames)"),
    "a huge file": (b"\x89PNG" + b"\0" * FILE_MAX_BYTES, "", f"must be at most {FILE_MAX_BYTES} bytes"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_picture_is_refused_in_words(case: str) -> None:
    data, media_type, message = BAD[case]
    with pytest.raises(InvalidRequest) as caught:
        read(data, media_type)
    [error] = caught.value.errors
    assert error.pointer == "/image"
    assert message in error.message
    assert len(error.message) < 120


@pytest.mark.parametrize("name", FORMATS)
def test_no_cut_and_no_flipped_byte_raises_anything_else(name: str) -> None:
    whole = saved(picture(), name)
    for place in range(0, len(whole), max(1, len(whole) // 60)):
        for data in (whole[:place], whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :]):
            with contextlib.suppress(InvalidRequest):
                read_picture(Upload(data), MAX_PIXELS)


def test_a_size_is_refused_before_a_pixel_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any) -> None:
        raise AssertionError("decoded")

    data = saved(picture(size=(100, 100)))
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", never)
    with pytest.raises(InvalidRequest, match="at most 9999 pixels"):
        read_picture(Upload(data), 9_999)


def test_base64_comes_bare_wrapped_in_lines_or_as_a_data_url() -> None:
    data = saved(picture())
    text = base64.b64encode(data).decode()
    lines = "\n".join(text[i : i + 76] for i in range(0, len(text), 76))
    assert from_base64(text).data == from_base64(lines).data == data
    assert from_base64(f"data:image/PNG;base64,{text}") == Upload(data, "image/png")


@pytest.mark.parametrize("text", ["%%%", "iVBORw0KGgo", "data:image/png,abc", "bäse", "http://example.com/a.png"])
def test_what_is_no_base64_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="in base64"):
        from_base64(text)


def test_an_empty_text_is_an_empty_file() -> None:
    with pytest.raises(InvalidRequest, match="got an empty file"):
        read_picture(from_base64(""), MAX_PIXELS)
