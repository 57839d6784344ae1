"""The last frame of a film, as a program of its own: the film on standard input, a picture or a refusal on the output.

Decoders of films are large, and what they are given comes from strangers: here they have a process that imports nothing
of ours, has little memory, and is ended when it takes too long (server/given_films.py). Output: a line of JSON, either
{"fps": of the film or null} and then the frame as PNG, or {"rule": what was not met, "limit": its bound or null}.
"""

import io
import json
import resource
import sys
from collections.abc import Iterator
from typing import Any

import av
from av.packet import Packet
from av.stream import Disposition
from av.video.reformatter import Interpolation
from av.video.stream import VideoStream
from PIL import Image

CODECS = ("h264", "hevc", "vp8", "vp9", "av1", "mpeg4")
_DECODERS = "h264,hevc,vp8,vp9,libdav1d,av1,mpeg4"  # all that may run while headers are read: no sound, no subtitles
_DEMUXERS = {"MP4": "mp4", "WEBM": "webm"}
_EXACT = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT  # grey stays grey


class Refused(Exception):  # noqa: N818 - not an error of this program
    """The film breaks a rule: its words, and the bound that it names."""

    def __init__(self, rule: str, limit: int | list[str] | None = None) -> None:
        super().__init__(rule)
        self.limit = limit


class Limits:
    """max_frames: of the film. max_side, max_pixels: of a frame. max_decoded: pixels of all frames to be decoded."""

    def __init__(self, max_frames: int, max_side: int, max_pixels: int, max_decoded: int) -> None:
        self.max_frames, self.max_side = max_frames, max_side
        self.max_pixels, self.max_decoded = max_pixels, max_decoded

    def check_size(self, width: int, height: int) -> None:
        if max(width, height) > self.max_side:
            raise Refused(
                f"must be at most {self.max_side} pixels wide and high (got {width} x {height})", self.max_side
            )
        if width * height > self.max_pixels:
            rule = f"must have frames of at most {self.max_pixels} pixels (got {width} x {height})"
            raise Refused(rule, self.max_pixels)

    def check_length(self, frames: int) -> None:
        if frames > self.max_frames:
            raise Refused(f"must be a film of at most {self.max_frames} frames", self.max_frames)

    def check_work(self, frames: int, width: int, height: int) -> None:
        if frames * width * height > self.max_decoded:
            rule = f"must have at most {self.max_decoded} pixels in the frames that lead to its last one"
            raise Refused(
                f"{rule} (got {frames} x {width} x {height}): send the end of the film alone", self.max_decoded
            )


def last_frame(data: bytes, kind: str, limits: Limits) -> tuple[Image.Image, float | None]:
    """Upright RGB on white, and the frames shown in a second, if that can be told. kind: GIF, WEBP, MP4 or WEBM.

    Raises Refused; anything at all for a damaged file.
    """
    return _of_video(data, kind, limits) if kind in _DEMUXERS else _of_animation(data, kind, limits)


def _of_animation(data: bytes, kind: str, limits: Limits) -> tuple[Image.Image, float | None]:
    """GIF or WebP, whose every frame may lie on top of the one before: all are decoded."""
    if kind == "GIF" and not data.rstrip(b"\0").endswith(b";"):
        raise ValueError("no trailer: cut off between two frames")
    if kind == "WEBP":  # before its decoder takes memory for a whole frame. Source: RFC 9649, 2.7, the VP8X chunk
        limits.check_size(*(1 + int.from_bytes(data[place : place + 3], "little") for place in (24, 27)))
    with Image.open(io.BytesIO(data), formats=(kind,)) as image:
        limits.check_size(*image.size)
        frames, shown_ms = getattr(image, "n_frames", 1), 0.0
        limits.check_length(frames)
        for number in range(frames):
            image.seek(number)
            limits.check_size(*image.size)  # each time: frames of a GIF may reach beyond its screen
            limits.check_work(frames, *image.size)
            image.load()
            shown_ms += image.info.get("duration", 0)
        picture = image.convert("RGBA")
    plain = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    return plain, 1000 * frames / shown_ms if frames > 1 and shown_ms > 0 else None


def _of_video(data: bytes, kind: str, limits: Limits) -> tuple[Image.Image, float | None]:
    """MP4 or WebM. Only what follows the last keyframe is decoded."""
    if _announced_bytes(data, kind) > len(data):
        raise ValueError("cut off")
    options = {"codec_whitelist": _DECODERS, "max_pixels": str(limits.max_pixels)}
    with av.open(io.BytesIO(data), "r", format=_DEMUXERS[kind], options=options) as film:
        shown = [stream for stream in film.streams.video if not stream.disposition & Disposition.attached_pic]
        if not shown:
            raise Refused("must hold moving pictures (got a file without a video stream)")
        stream: VideoStream = shown[0]
        codec = stream.codec.canonical_name if stream.codec_context is not None else "one that is unknown"
        if codec not in CODECS:
            raise Refused(f"must be coded as one of {', '.join(CODECS)} (got {codec})", list(CODECS))
        limits.check_size(stream.width, stream.height)
        frames = 0
        packets: list[Packet[VideoStream]] = []
        for packet in film.demux(stream):
            if packet.size:
                frames += 1
                limits.check_length(frames)
                if packet.is_keyframe:
                    packets = []
                packets.append(packet)
        limits.check_work(len(packets), stream.width, stream.height)
        context = stream.codec_context
        context.thread_count, context.options = 1, {"max_pixels": str(limits.max_pixels)}
        last = None
        for known in (*packets, None):  # None: what the decoder still has
            for frame in context.decode(known):
                last = frame
        if last is None or last.is_corrupt:
            raise ValueError("no whole frame at the end")
        limits.check_size(last.width, last.height)
        rate = stream.average_rate or stream.guessed_rate
        picture: Image.Image = last.to_image(interpolation=_EXACT)  # type: ignore[no-untyped-call]
        return picture.rotate(last.rotation, expand=True), None if rate is None else float(rate)


def _announced_bytes(data: bytes, kind: str) -> int:
    """How long the file says that it is, as far as it says so."""
    return max(_box_ends(data) if kind == "MP4" else _element_ends(data), default=0)


def _box_ends(data: bytes) -> Iterator[int]:
    """Of the boxes of an MP4. Source: ISO/IEC 14496-12, 4.2: size, type; a size of 1 is followed by a long one."""
    start = 0
    while start + 8 <= len(data):
        size = int.from_bytes(data[start : start + 4])
        if size == 1:
            size = int.from_bytes(data[start + 8 : start + 16])
        if size < 8 or not data[start + 4 : start + 8].isalnum():  # 0: to the end; and what follows may be no box
            return
        start += size
        yield start


def _element_ends(data: bytes) -> Iterator[int]:
    """Of the header and the segment of a WebM. Source: RFC 8794, 4: a size's first 1 bit says how long it is."""
    start = 0
    for _ in ("header", "segment"):
        first = data[start + 4 : start + 5]  # both have ids of 4 bytes
        if not first or not first[0]:
            return
        length = 9 - first[0].bit_length()
        size = int.from_bytes(data[start + 4 : start + 4 + length]) - (1 << 7 * length)
        if size == (1 << 7 * length) - 1:  # all ones: not known
            return
        start += 4 + length + size
        yield start


def main() -> None:
    """The kind of film, the bytes of memory it may take and the limits are one JSON object, the only argument."""
    wanted: dict[str, Any] = json.loads(sys.argv[1])
    kind, memory = wanted.pop("kind"), wanted.pop("memory")
    if sys.platform == "linux":  # elsewhere the limit is not kept, or refused
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    png = io.BytesIO()
    try:
        picture, fps = last_frame(sys.stdin.buffer.read(), kind, Limits(**wanted))
        picture.save(png, "PNG", compress_level=1)
        answer: dict[str, Any] = {"fps": fps, "width": picture.width, "height": picture.height}
    except Refused as refused:
        answer = {"rule": str(refused), "limit": refused.limit}
    except MemoryError:
        answer = {"rule": f"must take at most {memory} bytes of memory to read", "limit": memory}
    except Exception:  # decoders raise whatever broken bytes lead to
        answer = {"rule": "must be whole: the file is cut off or damaged", "limit": None}
    sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n" + png.getvalue())


if __name__ == "__main__":
    main()
