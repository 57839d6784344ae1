"""Films that callers send: from the file to its last frame, where the next film begins, or a refusal in words.

The kind of film is told from its bytes. It is read by a process of its own, server/last_frame.py, with little memory
and time: what a broken or malicious file does to a decoder, it does to nobody else.
"""

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Literal

from server.limits import FILM_SIDE_MAX_PX, FRAME_MAX_PIXELS
from server.uploads import PICTURE, GivenPicture, Upload, check_file

log = logging.getLogger(__name__)

Kind = Literal["GIF", "WEBP", "MP4", "WEBM"]

PICTURE_OR_FILM = f"{PICTURE}, or a film as GIF, WebP, MP4 or WebM"
FILM_MAX_FRAMES = 10_000
# Pixels that are decoded to come to the last frame: all of a GIF or WebP, in the others those after the last keyframe.
# Some seconds on one core: 580 frames of 640 x 360, and 258 of 1920 x 1080, more than encoders let pass without one.
DECODED_MAX_PIXELS: dict[Kind, int] = {"GIF": 2**27, "WEBP": 2**27, "MP4": 2**29, "WEBM": 2**29}
READ_MAX_S = 30.0  # several times what the most of these take
READ_MAX_BYTES = 2**30  # address space: the largest frames take a third of it

_MEDIA_TYPES: dict[Kind, tuple[str, ...]] = {
    "GIF": ("image/gif",),
    "WEBP": ("image/webp",),
    "MP4": ("video/mp4", "video/x-m4v", "video/quicktime"),
    "WEBM": ("video/webm", "video/x-matroska"),
}
_PICTURE_BRANDS = (b"avif", b"avis", b"mif1", b"msf1", b"heic", b"heix")  # of files like MP4 that hold pictures
_READER = Path(__file__).with_name("last_frame.py")


def kind_of_film(data: bytes) -> Kind | None:
    """What film these bytes begin; None for pictures and everything else. A GIF is one even with a single frame."""
    if data[:6] in (b"GIF87a", b"GIF89a"):
        return "GIF"
    if data[:4] == b"RIFF" and data[8:16] == b"WEBPVP8X" and data[20:21] and data[20] & 2:  # its flag of animations
        return "WEBP"
    if data[4:8] == b"ftyp" and data[8:12] not in _PICTURE_BRANDS:
        return "MP4"
    return "WEBM" if data[:4] == b"\x1aE\xdf\xa3" else None


def read_last_frame(upload: Upload, kind: Kind, max_pixels: int) -> GivenPicture:
    """Check the film and decode its end. Takes up to READ_MAX_S: call it in a thread. Raises InvalidRequest alone."""
    check_file(upload, PICTURE_OR_FILM)
    claimed = upload.media_type
    is_told = claimed.startswith(("image/", "video/", "audio/")) and not claimed.endswith("/*")
    if is_told and claimed not in _MEDIA_TYPES[kind]:
        raise upload.refused(f"must be what it is called (got {claimed} that holds {kind})")
    wanted = {
        "kind": kind,
        "memory": READ_MAX_BYTES,
        "max_frames": FILM_MAX_FRAMES,
        "max_side": FILM_SIDE_MAX_PX,
        "max_pixels": min(max_pixels, FRAME_MAX_PIXELS),
        "max_decoded": DECODED_MAX_PIXELS[kind],
    }
    # -P: the reader imports nothing from the folder that it lies in.
    command = [sys.executable, "-P", str(_READER), json.dumps(wanted)]
    try:
        reader = subprocess.run(command, input=upload.data, capture_output=True, timeout=READ_MAX_S, check=True)
    except subprocess.TimeoutExpired:
        raise upload.refused(f"must take at most {READ_MAX_S:g} seconds to read", limit=READ_MAX_S) from None
    except subprocess.CalledProcessError as error:  # a decoder that fell over
        log.warning(
            "the reader of films ended with %s: %s", error.returncode, error.stderr[-300:].decode(errors="replace")
        )
        raise upload.refused("must be whole: the file is cut off or damaged") from None
    line, _, png = reader.stdout.partition(b"\n")
    answer = json.loads(line)
    if "rule" in answer:
        raise upload.refused(answer["rule"], limit=answer["limit"])
    return GivenPicture(png, answer["width"], answer["height"], answer["fps"])
