"""Results in other formats: the worker's PNG as WebP or JPEG, with how the picture was made written into both."""

import io
import json
from enum import StrEnum
from pathlib import Path
from typing import IO, Any
from xml.sax.saxutils import escape, quoteattr

from PIL import Image
from PIL.ExifTags import IFD, Base
from PIL.PngImagePlugin import PngImageFile

# Only our own results are opened here; their size was checked when the job was admitted.
Image.MAX_IMAGE_PIXELS = None

CONVERT_MAX_PIXELS = 2**26  # 64 megapixels: converting holds the whole picture, at 4 bytes a pixel and more

_FIELDS = ("prompt", "seed", "order", "model", "version")
_PNG_PREFIX = "nuwa:"
_COMMENT_CODE = b"ASCII\0\0\0"  # EXIF: how a UserComment is encoded
_JPEG_QUALITY = 92


class ResultFormat(StrEnum):
    """The file formats of GET /jobs/{id}/result."""

    PNG = "png"
    WEBP = "webp"
    JPEG = "jpeg"

    @property
    def media_type(self) -> str:
        return f"image/{self.value}"

    @property
    def max_side_px(self) -> int:
        """The largest side that the format can hold."""
        return {"png": 2**31 - 1, "webp": 16_383, "jpeg": 65_535}[self.value]

    def limit(self, width: int, height: int) -> tuple[str, int] | None:
        """Why a picture of this size cannot be had in this format, and the limit; None when it can. PNG holds all."""
        side, pixels = max(width, height), width * height
        if side > self.max_side_px:
            return (
                f"{self.value} holds at most {self.max_side_px} pixels a side, this picture has {side}",
                self.max_side_px,
            )
        if self is not ResultFormat.PNG and pixels > CONVERT_MAX_PIXELS:
            rule = (
                f"pictures of at most {CONVERT_MAX_PIXELS} pixels are converted to {self.value}, this one has {pixels}"
            )
            return rule, CONVERT_MAX_PIXELS
        return None


def convert(png: Path | IO[bytes], wanted: ResultFormat) -> bytes:
    """A result in another format: WebP without loss, JPEG at a quality where no difference shows. PNG stays as it is.

    Takes many seconds and several times the picture's size in memory for large ones: call it in a thread.
    """
    if wanted is ResultFormat.PNG:
        return png.read_bytes() if isinstance(png, Path) else png.read()
    with Image.open(png) as image:
        made = read_metadata(image)
        exif = Image.Exif()
        exif.get_ifd(IFD.Exif)[Base.UserComment] = _COMMENT_CODE + json.dumps(made).encode("ascii")
        options: dict[str, Any] = {"exif": exif.tobytes(), "xmp": _xmp(made)}
        match wanted:
            case ResultFormat.WEBP:
                options |= {"format": "WEBP", "lossless": True, "quality": 50, "method": 3}
            case ResultFormat.JPEG:
                options |= {"format": "JPEG", "quality": _JPEG_QUALITY, "subsampling": 0}
        out = io.BytesIO()
        image.save(out, **options)
    return out.getvalue()


def read_metadata(image: Image.Image) -> dict[str, Any]:
    """How a picture was made: prompt, seed, order, model, version and parameters, as far as its file says.

    Reads all three formats; an image from elsewhere gives an empty dict.
    """
    if isinstance(image, PngImageFile):
        made: dict[str, Any] = {
            name: image.text[_PNG_PREFIX + name] for name in _FIELDS if _PNG_PREFIX + name in image.text
        }
        if made and "parameters" in image.text:
            made["parameters"] = json.loads(image.text["parameters"])
    else:
        comment = image.getexif().get_ifd(IFD.Exif).get(Base.UserComment, b"")
        if not isinstance(comment, bytes) or not comment.startswith(_COMMENT_CODE + b"{"):
            return {}
        made = json.loads(comment.removeprefix(_COMMENT_CODE))
    if "seed" in made:
        made["seed"] = int(made["seed"])
    return made


def _xmp(made: dict[str, Any]) -> bytes:
    """The same for programs that know nothing of us: the prompt as the picture's description."""
    own = " ".join(f"nuwa:{name}={quoteattr(_xml_text(str(made[name])))}" for name in _FIELDS[1:] if name in made)
    description = escape(_xml_text(str(made.get("prompt", ""))))
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:nuwa="urn:nuwa:picture:" '
        f'{own}><dc:description><rdf:Alt><rdf:li xml:lang="x-default">{description}</rdf:li></rdf:Alt></dc:description>'
        '</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
    ).encode()


def _xml_text(text: str) -> str:
    """Without the characters that XML 1.0 cannot hold."""
    return "".join(c if c in "\t\n\r" or (c >= " " and c not in "\ufffe\uffff") else "\ufffd" for c in text)
