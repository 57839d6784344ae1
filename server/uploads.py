"""Pictures that callers send: from a file, in base64 or as a form's part, to plain RGB as PNG, or a refusal in words.

Nothing is believed but the bytes: the format is told from them, and size and frames from the header, before a pixel is
decoded. Turned as its EXIF says; transparency laid on white; palettes, grey, 16 bits and CMYK become 8-bit RGB.
Films are read by server/given_films.py.
"""

import base64
import binascii
import io
import re
from dataclasses import dataclass

from PIL import Image, ImageOps

from jobs.request import SIDE_MAX_PX
from server.errors import InvalidRequest
from server.wording import Limit, field_error

FORMATS = ("PNG", "JPEG", "WEBP", "AVIF")
FILE_MAX_BYTES = 20 * 2**20
GIVEN_MAX_PIXELS = 2**24  # a given picture is whole in memory, unlike a result
_DATA_URL = re.compile(r"data:([a-z0-9.+/-]*)(;[a-z0-9.=-]+)*;base64,", re.IGNORECASE)
PICTURE = "a PNG, JPEG, WebP or AVIF file"


@dataclass(frozen=True)
class Upload:
    """A file as it was sent, with the media type that its sender gave it ("" for none), and the field that it is."""

    data: bytes
    media_type: str = ""
    field: str = "image"

    def refused(self, rule: str, limit: Limit = None) -> InvalidRequest:
        """A fault of the file."""
        return InvalidRequest(field_error(self.field, rule, limit=limit))


@dataclass(frozen=True)
class Files:
    """What came beside the JSON of a request, as parts of a form."""

    image: Upload | None = None
    mask: Upload | None = None


@dataclass(frozen=True)
class GivenPicture:
    """A picture that can be used: RGB as PNG. fps: of the film whose last frame it is, where that is known."""

    png: bytes
    width: int
    height: int
    fps: float | None = None


def from_base64(text: str, field: str = "image") -> Upload:
    """Base64, or a data URL of it, as the value of a field. Raises InvalidRequest."""
    if len(text) > 4 * FILE_MAX_BYTES // 3 + 200:
        raise Upload(b"", field=field).refused(f"must be at most {FILE_MAX_BYTES} bytes", limit=FILE_MAX_BYTES)
    media_type = ""
    if prefix := _DATA_URL.match(text):
        media_type, text = prefix[1], text[prefix.end() :]
    try:
        return Upload(base64.b64decode("".join(text.split()), validate=True), media_type.lower(), field)
    except (binascii.Error, ValueError):
        raise Upload(b"", field=field).refused(f"must be {PICTURE} in base64") from None


def check_file(upload: Upload, taken: str) -> None:
    """Raises InvalidRequest for an empty file and for one that is too long. taken: in words, what it should be."""
    if not upload.data:
        raise upload.refused(f"must be {taken} (got an empty file)")
    if len(upload.data) > FILE_MAX_BYTES:
        rule = f"must be at most {FILE_MAX_BYTES} bytes (got {len(upload.data)})"
        raise upload.refused(rule, limit=FILE_MAX_BYTES)


def read_picture(upload: Upload, max_pixels: int, taken: str = PICTURE) -> GivenPicture:
    """Check, decode and normalise. Takes up to seconds: call it in a thread. Raises InvalidRequest and nothing else."""
    picture = decoded(upload, max_pixels, taken)
    out = io.BytesIO()
    picture.save(out, "PNG", compress_level=1)
    return GivenPicture(out.getvalue(), *picture.size)


def decoded(upload: Upload, max_pixels: int, taken: str = PICTURE) -> Image.Image:
    """Upright 8-bit RGB, checked before. Raises InvalidRequest and nothing else."""
    check_file(upload, taken)
    try:
        image = Image.open(io.BytesIO(upload.data), formats=FORMATS)
    except Exception:  # Pillow raises whatever a broken header leads to
        raise upload.refused(f"must be {taken}, whole and undamaged", limit=list(FORMATS)) from None
    with image:
        _check_header(image, upload, max_pixels)
        try:
            image.load()
            return _plain(image)
        except Exception:  # as above
            raise upload.refused("must be whole: the file is cut off or damaged") from None


def _check_header(image: Image.Image, upload: Upload, max_pixels: int) -> None:
    # A JPEG of several pictures (MPO: phones store a preview or depth beside the photograph) counts as its first one.
    kind = "JPEG" if image.format == "MPO" else image.format or ""
    media_type, refused = upload.media_type, upload.refused
    if media_type.startswith(("image/", "video/")) and media_type not in (
        f"image/{kind.lower()}",
        "image/jpg",
        "image/*",
    ):
        raise refused(f"must be what it is called (got {media_type} that holds {kind})")
    if media_type == "image/jpg" and kind != "JPEG":
        raise refused(f"must be what it is called (got {media_type} that holds {kind})")
    frames = getattr(image, "n_frames", 1) if kind != "JPEG" else 1
    if frames > 1:
        raise refused(f"must be a still picture (got {frames} frames)", limit=1)
    width, height = image.size
    if max(width, height) > SIDE_MAX_PX:
        raise refused(f"must be at most {SIDE_MAX_PX} pixels wide and high (got {width} x {height})", SIDE_MAX_PX)
    if width * height > max_pixels:
        raise refused(f"must hold at most {max_pixels} pixels (got {width} x {height})", max_pixels)


def _plain(image: Image.Image) -> Image.Image:
    """Upright 8-bit RGB."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # 16-bit grey, which Pillow would clip instead of scaling
        return image.convert("I").point(lambda value: value * (1 / 257)).convert("L").convert("RGB")
    if "A" in image.getbands() or "transparency" in image.info:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")
