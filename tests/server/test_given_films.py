"""Films that callers send: the next one begins with their last frame, whatever they come in; bad ones are refused."""

import base64
import contextlib
import io
import json
import threading
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from server import last_frame as reader
from server.given_films import DECODED_MAX_PIXELS, FILM_MAX_FRAMES, Kind, kind_of_film, read_last_frame
from server.limits import FILM_SIDE_MAX_PX, FRAME_MAX_PIXELS
from server.uploads import FILE_MAX_BYTES, Upload
from workers.video import FilmStream, FilmWriter

WIDTH, HEIGHT, FPS, LENGTH = 40, 24, 12, 6
KINDS: tuple[Kind, ...] = ("GIF", "WEBP", "MP4", "WEBM")
MEDIA_TYPES = {"GIF": "image/gif", "WEBP": "image/webp", "MP4": "video/mp4", "WEBM": "video/webm"}
IDENTITY, QUARTER_TURN = (
    b"".join(number.to_bytes(4, signed=True) for number in matrix)
    for matrix in ((65536, 0, 0, 0, 65536, 0), (0, 65536, 0, -65536, 0, 0))
)


def frame(number: int, width: int = WIDTH, height: int = HEIGHT) -> NDArray[np.uint8]:
    """A band of warm colour that moves to the right over a gradient, [H, W, 3]."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    pixels = np.stack([x * 2, y * 4, np.full_like(x, 90)], axis=2)
    pixels[:, 6 * number : 6 * number + 8] = (220, 140, 30)
    return pixels.astype(np.uint8)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return {kind: written(tmp_path_factory.mktemp(kind) / "film", kind) for kind in KINDS}


def written(path: Path, kind: str, width: int = WIDTH, height: int = HEIGHT) -> bytes:
    writer = FilmWriter(path, width, height, FPS, kind.lower())
    for number in range(LENGTH):
        writer.add(frame(number, width, height))
    writer.close()
    return path.read_bytes()


def encoded(codec: str, name: str = "mp4", frames: int = LENGTH, **options: Any) -> bytes:
    """A film, or with an audio codec a second of silence, as FilmWriter would not write it."""
    out = io.BytesIO()
    with av.open(out, "w", format=name) as file:
        stream = file.add_stream(codec, rate=44_100 if codec == "aac" else FPS)
        if codec == "aac":
            stream.layout = "mono"
            sounds = av.AudioFrame(format="fltp", layout="mono", samples=1024)
            sounds.sample_rate, sounds.pts, sounds.time_base = 44_100, 0, Fraction(1, 44_100)
            sounds.planes[0].update(bytes(sounds.planes[0].buffer_size))
            file.mux(stream.encode(sounds))
        else:
            stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, options.pop("pixels", "yuv420p")
            stream.codec_context.options = {key: str(value) for key, value in options.items()}
            for number in range(frames):
                file.mux(stream.encode(av.VideoFrame.from_ndarray(frame(number), format="rgb24")))
        file.mux(stream.encode())
    return out.getvalue()


def animated(kind: str, duration_ms: int, **options: Any) -> bytes:
    first, *others = (Image.fromarray(frame(number)) for number in range(3))
    out = io.BytesIO()
    first.save(out, kind, save_all=True, append_images=others, duration=duration_ms, **options)
    return out.getvalue()


def still(kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.fromarray(frame(0)).save(out, kind)
    return out.getvalue()


def limits(**change: int) -> reader.Limits:
    usual = {"max_frames": 100, "max_side": FILM_SIDE_MAX_PX, "max_pixels": FRAME_MAX_PIXELS, "max_decoded": 10**8}
    return reader.Limits(**{**usual, **change})


def last_of(data: bytes, kind: str, **change: int) -> tuple[NDArray[np.uint8], float | None]:
    picture, fps = reader.last_frame(data, kind, limits(**change))
    assert picture.mode == "RGB"
    return np.asarray(picture), fps


def distance(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    return float(np.abs(one.astype(float) - other).mean())


@pytest.mark.parametrize("kind", KINDS)
def test_the_last_frame_and_the_rate_are_those_that_were_written(films: dict[str, bytes], kind: str) -> None:
    assert kind_of_film(films[kind]) == kind
    pixels, fps = last_of(films[kind], kind)
    assert fps == pytest.approx(FPS, rel=0.01)
    assert distance(pixels, frame(LENGTH - 1)) < 6 < distance(pixels, frame(LENGTH - 2))


def test_a_film_in_fragments_goes_on_too() -> None:
    stream = FilmStream(WIDTH, HEIGHT, FPS)
    data = b"".join(stream.add(frame(number)) for number in range(LENGTH)) + stream.close()
    assert distance(last_of(data, "MP4")[0], frame(LENGTH - 1)) < 6


def test_only_what_follows_the_last_keyframe_is_decoded() -> None:
    data, whole = encoded("libx264", frames=7, g=5, bf=0, sc_threshold=0), 7 * WIDTH * HEIGHT
    pixels, _ = last_of(data, "MP4", max_decoded=2 * WIDTH * HEIGHT)
    assert distance(pixels, frame(6)) < 8
    with pytest.raises(reader.Refused, match=f"{whole - 1} pixels in the frames"):
        last_of(encoded("libx264", frames=7), "MP4", max_decoded=whole - 1)


def test_a_film_that_was_taken_upright_stands_upright(films: dict[str, bytes]) -> None:
    plain = films["MP4"]
    place = plain.index(b"tkhd") + 44
    rows = [plain[place + 12 * row : place + 12 * row + 8] for row in (0, 1)]
    assert b"".join(rows) == IDENTITY[:8] + IDENTITY[12:20]
    turned = bytearray(plain)
    for row in (0, 1):
        turned[place + 12 * row : place + 12 * row + 8] = QUARTER_TURN[12 * row : 12 * row + 8]
    upright, _ = last_of(bytes(turned), "MP4")
    assert np.array_equal(upright, np.rot90(last_of(plain, "MP4")[0], -1))


def test_transparency_is_laid_on_white() -> None:
    first, second = (Image.new("RGBA", (8, 8), (0, 0, 0, 0)) for _ in range(2))
    first.paste((0, 0, 255, 255), (0, 0, 4, 8))
    for kind in ("GIF", "WEBP"):
        out = io.BytesIO()
        first.save(out, kind, save_all=True, append_images=[second], disposal=2, duration=100, lossless=True)
        assert kind_of_film(out.getvalue()) == kind
        assert last_of(out.getvalue(), kind)[0].min() == 255


def test_pictures_are_no_films() -> None:
    for name in ("PNG", "JPEG", "WEBP", "AVIF"):
        assert kind_of_film(still(name)) is None
    assert kind_of_film(b"") is kind_of_film(b"RIFF") is kind_of_film(b"RIFF\0\0\0\0WEBPVP8X") is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_film_that_is_cut_off_never_gives_a_frame(films: dict[str, bytes], kind: str) -> None:
    whole = films[kind]
    for kept in {0, 4, 30, len(whole) // 3, len(whole) // 2, len(whole) - 40, len(whole) - 1}:
        with pytest.raises((ValueError, OSError, EOFError, SyntaxError)):  # what main() makes a refusal of
            last_of(whole[:kept], kind)


@pytest.mark.parametrize("kind", KINDS)
def test_no_flipped_byte_takes_the_reader_down(films: dict[str, bytes], kind: str) -> None:
    whole = films[kind]
    for place in range(0, len(whole), max(1, len(whole) // 150)):
        with contextlib.suppress(Exception):
            last_of(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :], kind)


REFUSED: list[tuple[str, Callable[[], bytes], dict[str, int], str, Any]] = [
    ("MP4", lambda: encoded("aac"), {}, "must hold moving pictures (got a file without a video stream)", None),
    ("MP4", lambda: encoded("mjpeg", pixels="yuvj420p"), {}, "(got mjpeg)", list(reader.CODECS)),
    ("MP4", lambda: encoded("libx264"), {"max_frames": 5}, "must be a film of at most 5 frames", 5),
    ("GIF", lambda: animated("GIF", 100), {"max_frames": 2}, "must be a film of at most 2 frames", 2),
    ("WEBM", lambda: encoded("libvpx-vp9", "webm"), {"max_side": 39}, "must be at most 39 pixels wide and high", 39),
    ("MP4", lambda: encoded("libx264"), {"max_pixels": 959}, "frames of at most 959 pixels (got 40 x 24)", 959),
    ("WEBP", lambda: animated("WEBP", 100), {"max_pixels": 959}, "frames of at most 959 pixels (got 40 x 24)", 959),
    ("GIF", lambda: animated("GIF", 100), {"max_decoded": 2879}, "(got 3 x 40 x 24): send the end of the film", 2879),
]


@pytest.mark.parametrize(("kind", "made", "change", "message", "limit"), REFUSED)
def test_what_breaks_a_limit_is_refused_with_it(
    kind: str, made: Callable[[], bytes], change: dict[str, int], message: str, limit: Any
) -> None:
    data = made()
    with pytest.raises(reader.Refused) as caught:
        last_of(data, kind, **change)
    assert message in str(caught.value)
    assert caught.value.limit == limit


def test_a_size_is_refused_before_a_pixel_is_decoded(films: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """Headers that claim 65535 x 65535 and 16384 x 16384 pixels, over films of 40 x 24."""
    gif, webp = films["GIF"], films["WEBP"]
    monkeypatch.setattr("PIL.GifImagePlugin.GifImageFile.load", lambda _: pytest.fail("decoded"))
    for kind, huge in (("GIF", gif[:6] + b"\xff" * 4 + gif[10:]), ("WEBP", webp[:24] + b"\xff\x3f\0" * 2 + webp[30:])):
        with pytest.raises(reader.Refused, match="at most 8192 pixels wide"):
            last_of(huge, kind)


# --- Over HTTP, where a process of its own reads ---


async def sent(served: Any, data: bytes, media_type: str = "", way: str = "form", **body: Any) -> Any:
    if way == "base64":
        text = base64.b64encode(data).decode()
        image = f"data:{media_type};base64,{text}" if media_type else text
        return await served.client.post("/generate", json={"image": image, **body}, headers={"Prefer": "wait=30"})
    form = {"image": ("film", data, media_type or "application/octet-stream"), "request": (None, json.dumps(body))}
    return await served.client.post("/generate", files=form, headers={"Prefer": "wait=30"})


@pytest.fixture
async def filming(gateway: Any) -> Any:
    """A gateway that knows a model that makes films."""
    figures = {"extent": (1, 1, 1), "slots": 4, "pool_pages": 64}
    await gateway.broker.announce("fake", [gateway.model.model_copy(update=figures)], ttl_s=60)
    return gateway


WALKS = [
    ("MP4", "form", "video/mp4", {}, FPS),
    ("WEBM", "base64", "video/webm", {"frames": 2}, FPS),
    ("GIF", "form", "", {"fps": 3}, 3),
    ("WEBP", "base64", "image/webp", {"task": "animation", "prompt": "panning right", "frames": 2}, FPS),
]


@pytest.mark.anyio
@pytest.mark.parametrize(("kind", "way", "media_type", "body", "fps"), WALKS)
async def test_the_next_film_begins_with_the_last_frame_of_the_given_one(
    gateway: Any, films: dict[str, bytes], kind: str, way: str, media_type: str, body: dict[str, Any], fps: int
) -> None:
    async with gateway.drawing():
        answer = await sent(gateway, films[kind], media_type, way, **body)
    job = answer.json()
    assert answer.status_code == 200, answer.text
    assert (job["status"], job["task"], job["fps"]) == ("succeeded", "image_animation", fps)
    assert (job["width"], job["height"], job["given"]) == (WIDTH, HEIGHT, [0, 0, WIDTH, HEIGHT])
    assert job["frames"] == body.get("frames", 16)
    given = await gateway.client.get(job["links"]["given"])
    first = await gateway.client.get(f"{job['links']['self']}/frames/0")
    with Image.open(io.BytesIO(given.content)) as kept, Image.open(io.BytesIO(first.content)) as shown:
        assert np.array_equal(np.asarray(kept), np.asarray(shown)), "byte for byte what lies in the store"
        assert distance(np.asarray(shown), frame(LENGTH - 1)) < 6


UNREADABLE: list[tuple[Callable[[dict[str, bytes]], bytes], str, dict[str, Any], str, str]] = [
    (lambda _: b"", "video/mp4", {"frames": 2}, "/image", "or a film as GIF, WebP, MP4 or WebM (got an empty file)"),
    (lambda _: b"no film", "video/mp4", {"frames": 2}, "/image", "or a film as GIF, WebP, MP4 or WebM, whole"),
    (lambda films: films["MP4"], "image/png", {}, "/image", "what it is called (got image/png that holds MP4)"),
    (lambda films: films["WEBM"], "video/mp4", {}, "/image", "what it is called (got video/mp4 that holds WEBM)"),
    (lambda _: still(), "video/mp4", {"frames": 2}, "/image", "what it is called (got video/mp4 that holds PNG)"),
    (lambda films: films["MP4"][:-9], "", {}, "/image", "must be whole: the file is cut off or damaged"),
    (lambda _: encoded("aac"), "", {}, "/image", "got a file without a video stream"),
    (lambda _: b"GIF89a" + bytes(FILE_MAX_BYTES), "", {}, "/image", f"must be at most {FILE_MAX_BYTES} bytes"),
    (lambda _: animated("GIF", 10), "", {}, "/fps", "fps must be given, from 1 to 60: the film's own is 100"),
    (lambda _: animated("WEBP", 4000), "", {}, "/fps", "fps must be given, from 1 to 60: the film's own is 0.25"),
    (lambda films: films["MP4"], "", {"width": 48}, "/width", "width must be the given picture's 40"),
    (lambda films: films["MP4"], "", {"fps": 61}, "/fps", "fps must be at most 60"),
    (lambda films: films["MP4"], "", {"extend": {"left": 8}}, "/image", "must be a still picture for task image_outp"),
    (lambda films: films["MP4"], "", {"task": "t2v", "prompt": "a"}, "/image", "is not taken by task text_to_video"),
]


@pytest.mark.anyio
@pytest.mark.parametrize(("made", "media_type", "body", "pointer", "message"), UNREADABLE)
async def test_what_cannot_be_gone_on_with_is_refused_and_nothing_is_kept(
    filming: Any,
    films: dict[str, bytes],
    made: Callable[[dict[str, bytes]], bytes],
    media_type: str,
    body: dict[str, Any],
    pointer: str,
    message: str,
) -> None:
    answer = await sent(filming, made(films), media_type, **body)
    assert answer.status_code == 422, answer.text
    [error] = answer.json()["errors"]
    assert error["pointer"] == pointer
    assert message in error["message"]
    assert await filming.broker.depth() == 0
    assert not filming.store.path("x").parent.exists()


@pytest.mark.parametrize(
    ("name", "value", "limit"),
    [("READ_MAX_S", 0.001, 0.001), ("READ_MAX_BYTES", 2**27, None), ("FILM_MAX_FRAMES", 5, 5)],
)
def test_time_memory_and_length_end_the_reader_not_the_gateway(
    films: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, name: str, value: Any, limit: Any
) -> None:
    monkeypatch.setattr(f"server.given_films.{name}", value)
    with pytest.raises(Exception, match="image must ") as caught:
        read_last_frame(Upload(films["MP4"]), "MP4", 10**6)
    if limit is not None:
        assert caught.value.errors[0].limit == limit  # type: ignore[attr-defined]


@pytest.mark.anyio
async def test_no_film_is_decoded_in_the_event_loop(
    filming: Any, films: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = list[threading.Thread]()

    def read(*sent: Any) -> Any:
        threads.append(threading.current_thread())
        return read_last_frame(*sent)

    monkeypatch.setattr("server.prepare.read_last_frame", read)
    answer = await filming.client.post("/plan", files={"image": ("film", films["MP4"], "video/mp4")})
    assert answer.status_code == 200, answer.text
    assert threads[0] is not threading.current_thread()


def test_the_largest_frames_and_longest_tails_fit_the_limits_that_are_told() -> None:
    assert min(DECODED_MAX_PIXELS.values()) >= FRAME_MAX_PIXELS
    assert FILM_MAX_FRAMES * 16 <= FILE_MAX_BYTES
