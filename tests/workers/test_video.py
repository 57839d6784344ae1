"""Films: what players find in the files, what a growing film shows early, equal bytes, flat memory, clean colours."""

import io
from pathlib import Path

import av
import numpy as np
import psutil
import pytest
from PIL import Image, ImageSequence

from workers.video import Container, FilmStream, FilmWriter

CONTAINERS: tuple[Container, ...] = ("mp4", "webm", "webp", "gif")


def poster(number: int, height: int = 48, width: int = 80) -> np.ndarray:
    """A flat scene in which a disc moves two pixels a frame."""
    y, x = np.mgrid[:height, :width]
    pixels = np.where(y[..., None] < height // 2, (200, 90, 60), (30, 60, 110)).astype(np.uint8)
    pixels[(x - 2 * number - 10) ** 2 + (y - 16) ** 2 < 64] = (250, 220, 120)
    return pixels


def write(path: Path, frames: list[np.ndarray], fps: int = 10, container: Container = "mp4", **more) -> Path:
    film = FilmWriter(path, frames[0].shape[1], frames[0].shape[0], fps, container, **more)
    for frame in frames:
        film.add(frame)
    film.close()
    return path


def read(source: Path | io.BytesIO) -> tuple[list[np.ndarray], float]:
    """The frames of a film and its seconds, as two independent readers find them: ffmpeg, and Pillow for WebP."""
    if isinstance(source, Path) and source.suffix == ".webp":
        with Image.open(source) as image:
            shown = [
                (np.asarray(frame.convert("RGB")), frame.info["duration"]) for frame in ImageSequence.Iterator(image)
            ]
        return [frame for frame, _ in shown], sum(duration for _, duration in shown) / 1000
    with av.open(source) as film:
        frames = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
        return frames, (film.duration or 0) / av.time_base


@pytest.mark.parametrize("container", CONTAINERS)
def test_players_find_every_frame_at_its_time_with_its_colours(container: Container, tmp_path: Path) -> None:
    frames = [poster(number) for number in range(15)]
    shown, seconds = read(write(tmp_path / f"film.{container}", frames, 10, container))
    assert len(shown) == 15
    assert seconds == pytest.approx(1.5, abs=0.06)
    for frame, made in zip(frames, shown, strict=True):
        off = np.abs(frame.astype(int) - made)
        assert off[30:, :].max() <= 6, "flat water stays flat"
        assert off.mean() < 3, "only the disc's edge is blurred"


@pytest.mark.parametrize("container", CONTAINERS)
def test_equal_frames_give_an_equal_file(container: Container, tmp_path: Path) -> None:
    frames = [poster(number) for number in range(5)]
    once, again = (write(tmp_path / f"{name}.{container}", frames, 10, container) for name in "ab")
    assert once.read_bytes() == again.read_bytes()


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize(("width", "height"), [(1, 1), (3, 5), (81, 49), (80, 49)])
def test_odd_sizes_lose_nothing(width: int, height: int, container: Container, tmp_path: Path) -> None:
    [shown], _ = read(write(tmp_path / f"odd.{container}", [poster(0, height, width)], 10, container))
    more = (height % 2, width % 2) if container == "mp4" else (0, 0)
    assert shown.shape == (height + more[0], width + more[1], 3)
    assert np.abs(shown[height - 1, width - 1].astype(int) - poster(0, height, width)[-1, -1]).max() <= 10
    assert np.array_equal(shown[: height + more[0], width - 1], shown[: height + more[0], -1]), "repeated, not black"


def test_an_mp4_begins_with_its_index_so_that_it_plays_before_it_is_loaded(tmp_path: Path) -> None:
    data = write(tmp_path / "film.mp4", [poster(number) for number in range(5)]).read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")


def test_films_say_what_they_show_and_that_they_are_srgb(tmp_path: Path) -> None:
    info = {"title": "日没の雪山 ❄", "comment": '{"seed": 9}'}
    for container in ("mp4", "webm"):
        with av.open(write(tmp_path / f"film.{container}", [poster(0)], container=container, info=info)) as film:
            assert info.items() <= {key.lower(): value for key, value in film.metadata.items()}.items()
            frame = next(film.decode(video=0))
            assert (frame.colorspace, frame.color_range) == (1, 1), "BT.709, limited range"
            assert film.streams.video[0].codec_context.color_trc == 13, "sRGB"


def test_a_growing_film_shows_each_frame_when_the_next_one_comes() -> None:
    film, data = FilmStream(80, 48, 10), b""
    for number in range(8):
        data += film.add(poster(number))
        assert len(read(io.BytesIO(data))[0]) == number if number else data
    data += film.close()
    shown, seconds = read(io.BytesIO(data))
    assert (len(shown), seconds) == (8, pytest.approx(0.8, abs=0.01))
    assert max(np.abs(frame[30:].astype(int) - poster(0)[30:]).max() for frame in shown) <= 6


def test_a_growing_film_is_made_of_pieces_that_media_source_takes() -> None:
    """A piece is whole boxes: first ftyp and moov, then moof and mdat for each frame."""
    film = FilmStream(80, 48, 10)
    pieces = [film.add(poster(number)) for number in range(4)]
    pieces.append(film.close())
    assert [boxes(piece) for piece in pieces] == [["ftyp", "moov"], *[["moof", "mdat"]] * 3, ["moof", "mdat", "mfra"]]
    assert film.media_type.startswith('video/mp4; codecs="avc1.6400'), "High profile"


def boxes(data: bytes) -> list[str]:
    names = []
    while data:
        size, name = int.from_bytes(data[:4], "big"), data[4:8].decode()
        assert 8 <= size <= len(data)
        names.append(name)
        data = data[size:]
    return names


def test_equal_frames_give_equal_pieces() -> None:
    films = [FilmStream(80, 48, 10) for _ in range(2)]
    for number in range(5):
        frame = poster(number)
        assert films[0].add(frame) == films[1].add(frame)
    assert films[0].close() == films[1].close()


@pytest.mark.parametrize("container", [*CONTAINERS, "stream"])
def test_memory_is_flat_after_frame_20(container: str, tmp_path: Path) -> None:
    """Of 60 frames of 110 kB, 5 MB more would be those of the last 40."""
    frames = [poster(number, 144, 256) for number in range(20)]
    path = tmp_path / f"film.{container}"
    film = FilmStream(256, 144, 30) if container == "stream" else FilmWriter(path, 256, 144, 30, container)
    process, held = psutil.Process(), 0
    for number in range(60):
        film.add(frames[number % 20])
        if number == 20:
            held = process.memory_info().rss
    grown = process.memory_info().rss - held
    film.close()
    assert grown < 2.5e6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fps": 0}, "fps must be a whole number of at least 1, got 0"),
        ({"fps": 61}, "fps must be at most 60, got 61"),
        ({"fps": 12.5}, "fps must be a whole number"),
        ({"fps": 51, "container": "gif"}, "fps must be at most 50"),
        ({"width": 0}, "width must be a whole number of at least 1"),
        ({"height": 16_384, "container": "webp"}, "height must be at most 16383"),
        ({"container": "avi"}, "container must be one of mp4, webm, webp, gif, got 'avi'"),
    ],
)
def test_what_no_film_can_be_is_refused_by_field_and_limit(change: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        FilmWriter(**{"path": tmp_path / "film", "width": 80, "height": 48, "fps": 10, **change})
    assert not (tmp_path / "film").exists()


@pytest.mark.parametrize("frame", [np.zeros((48, 81, 3), np.uint8), np.zeros((48, 80, 3))])
def test_frames_of_another_size_or_type_are_refused(frame: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"frame must be uint8 \[48, 80, 3\]"):
        FilmStream(80, 48, 10).add(frame)


@pytest.mark.parametrize("container", CONTAINERS)
def test_a_film_without_frames_is_refused(container: Container, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one frame"):
        FilmWriter(tmp_path / "film", 80, 48, 10, container).close()
