"""Films: frames in, one by one, to a file (MP4, WebM, animated WebP, GIF), or to fragments of MP4 that play at once.

Memory does not grow with the number of frames, and equal frames give equal bytes: encoders run in one thread and
nothing about the time or the machine is written.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Literal, cast, get_args

import av
import numpy as np
from av.container import OutputContainer
from av.filter import Graph
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, Interpolation
from av.video.stream import VideoStream
from numpy.typing import NDArray

from canvas.grid import require_whole

Frame = NDArray[np.uint8]  # [height, width, 3], RGB
Container = Literal["mp4", "webm", "webp", "gif"]

LOOK_AHEAD = 10  # frames that an encoder keeps to weigh them against each other: all the memory that a film takes
STREAM_KEYFRAME_S = 2  # a player that jumps into a film decodes at most this much before it shows something


@dataclass(frozen=True)
class _Format:
    codec: str
    options: dict[str, str]  # of the codec
    muxer: dict[str, str] = field(default_factory=dict)
    pixels: str = "yuv420p"  # ffmpeg's name of the pixel format
    matrix: Colorspace = Colorspace.ITU709
    max_side_px: int = 16_384
    max_fps: int = 60


# crf and quality stand where flat colours show neither blocks nor noise: 41 dB on rendered landscapes, of 42.4 that
# half the chroma allows.
_FORMATS: dict[Container, _Format] = {
    "mp4": _Format(
        "libx264",
        {"crf": "17", "preset": "medium", "tune": "animation", "rc-lookahead": str(LOOK_AHEAD)},
        muxer={"movflags": "+faststart"},
    ),
    "webm": _Format(
        "libvpx-vp9", {"crf": "20", "b:v": "0", "deadline": "good", "cpu-used": "5", "lag-in-frames": str(LOOK_AHEAD)}
    ),
    "webp": _Format(
        "libwebp",
        {"quality": "95", "compression_level": "4"},
        muxer={"loop": "0"},
        matrix=Colorspace.ITU601,  # the only one that WebP knows
        max_side_px=16_383,
    ),
    "gif": _Format("gif", {}, pixels="pal8", max_side_px=65_535, max_fps=50),  # under 2/100 s is shown as 10/100 s
}
# Every frame leaves the encoder at once, and the muxer as a fragment of its own when the next one comes.
_STREAM = _Format(
    "libx264",
    {"crf": "17", "preset": "medium", "tune": "animation,zerolatency"},
    muxer={"movflags": "+empty_moov+default_base_moof+frag_every_frame"},
)


class FilmWriter:
    """A film written to a file, frame by frame; the file is whole once close() has returned.

    width, height: of the frames, in px; H.264 holds even sizes only, so an MP4 repeats the last column or row of odd
    ones.  fps: frames a second, 1 to 60, for GIF to 50.  info: tags such as title and comment (MP4 and WebM).
    Raises ValueError, naming the field and its limit.
    """

    def __init__(
        self,
        path: Path,
        width: int,
        height: int,
        fps: int,
        container: Container = "mp4",
        info: Mapping[str, str] | None = None,
    ) -> None:
        if container not in _FORMATS:
            raise ValueError(f"container must be one of {', '.join(get_args(Container))}, got {container!r}")
        _check(width, height, fps, _FORMATS[container])
        output = av.open(str(path), "w", format=container, options={"fflags": "+bitexact"} | _FORMATS[container].muxer)
        self._encoder = _Encoder(output, width, height, fps, _FORMATS[container], info or {})

    def add(self, frame: Frame) -> None:
        """Raises ValueError when the frame is not uint8 [height, width, 3]."""
        self._encoder.add(frame)

    def close(self) -> None:
        """Raises ValueError when there was no frame: there are no films of no length."""
        self._encoder.close()


class FilmStream:
    """A fragmented MP4 that grows with every frame: all that add() and close() returned, joined, plays at any moment.

    The frame that was added last is in what the next call returns. Parameters and errors as for FilmWriter.
    """

    def __init__(self, width: int, height: int, fps: int, info: Mapping[str, str] | None = None) -> None:
        _check(width, height, fps, _STREAM)
        self._out = io.BytesIO()
        output = av.open(self._out, "w", format="mp4", options={"fflags": "+bitexact"} | _STREAM.muxer)
        self._encoder = _Encoder(
            output, width, height, fps, _STREAM, info or {}, keyframe_every=STREAM_KEYFRAME_S * fps
        )

    @property
    def media_type(self) -> str:
        """What MediaSource.addSourceBuffer wants to hear, known once the first frame was added."""
        profile, constraints, level = self._encoder.header[5:8]  # after a start code and the type of the first unit
        return f'video/mp4; codecs="avc1.{profile:02x}{constraints:02x}{level:02x}"'

    def add(self, frame: Frame) -> bytes:
        """The next bytes of the film: with the first frame its header, later a fragment for each frame."""
        self._encoder.add(frame)
        return self._taken()

    def close(self) -> bytes:
        """The rest of the film. Raises ValueError when there was no frame."""
        self._encoder.close()
        return self._taken()

    def _taken(self) -> bytes:
        data = self._out.getvalue()
        self._out.seek(0)
        self._out.truncate()
        return data


class _Encoder:
    """One stream of frames into one open container."""

    def __init__(
        self,
        output: OutputContainer,
        width: int,
        height: int,
        fps: int,
        made_as: _Format,
        info: Mapping[str, str],
        keyframe_every: int | None = None,
    ) -> None:
        self._output, self._shape, self._made_as = output, (height, width, 3), made_as
        output.metadata.update(info)
        self._stream = cast(VideoStream, output.add_stream(made_as.codec, fps, made_as.options))
        is_h264 = made_as.codec == "libx264"
        self._stream.width = width + width % 2 if is_h264 else width
        self._stream.height = height + height % 2 if is_h264 else height
        self._stream.pix_fmt = made_as.pixels
        context = self._stream.codec_context
        context.thread_count = 1
        if keyframe_every is not None:
            context.gop_size = keyframe_every
        self._palette: Graph | None = None
        if made_as.pixels == "pal8":
            self._palette = _palette_graph(width, height, fps)
        else:
            # sRGB pixels; without these tags players guess the matrix by the size of the film.
            context.colorspace, context.color_range = made_as.matrix, ColorRange.MPEG
            context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.IEC61966_2_1
        self._count, self._time_base = 0, Fraction(1, fps)

    @property
    def header(self) -> bytes:
        """The codec's own header."""
        header = self._stream.codec_context.extradata
        assert header is not None, "the codec is opened by the first frame"
        return header

    def add(self, frame: Frame) -> None:
        if frame.shape != self._shape or frame.dtype != np.uint8:
            raise ValueError(f"frame must be uint8 {list(self._shape)}, got {frame.dtype} {list(frame.shape)}")
        more = (self._stream.height - frame.shape[0], self._stream.width - frame.shape[1])
        if any(more):
            frame = np.pad(frame, ((0, more[0]), (0, more[1]), (0, 0)), mode="edge")
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        if self._palette is None:
            picture = picture.reformat(
                format=self._made_as.pixels,
                dst_colorspace=self._made_as.matrix,
                dst_color_range=ColorRange.MPEG,
                interpolation=Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INP,
            )
        else:
            self._palette.vpush(picture)
            picture = self._palette.vpull()
        picture.pts, picture.time_base = self._count, self._time_base
        self._count += 1
        self._output.mux(self._stream.encode(picture))

    def close(self) -> None:
        if self._count == 0:
            raise ValueError("a film needs at least one frame")
        self._output.mux(self._stream.encode())
        self._output.close()


def _palette_graph(width: int, height: int, fps: int) -> Graph:
    """RGB to the 256 colours that suit each frame best, in an ordered pattern that stands still where the film does."""
    graph = Graph()
    source = graph.add_buffer(width=width, height=height, format=av.VideoFormat("rgb24"), time_base=Fraction(1, fps))
    split = graph.add("split")
    generate = graph.add("palettegen", "stats_mode=single:reserve_transparent=0")
    use = graph.add("paletteuse", "new=1:dither=bayer:bayer_scale=4")
    source.link_to(split)
    split.link_to(use, 0, 0)
    split.link_to(generate, 1, 0)
    generate.link_to(use, 0, 1)
    use.link_to(graph.add("buffersink"))
    graph.configure()
    return graph


def _check(width: int, height: int, fps: int, made_as: _Format) -> None:
    limits = (
        ("width", width, made_as.max_side_px),
        ("height", height, made_as.max_side_px),
        ("fps", fps, made_as.max_fps),
    )
    for name, value, most in limits:
        require_whole(name, value, minimum=1)
        if value > most:
            raise ValueError(f"{name} must be at most {most}, got {value}")
