"""`nuwa generate` writes pictures and films, here and by a server, and says in one line what cannot be."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from click.testing import Result
from PIL import Image
from typer.testing import CliRunner

from cli.main import app

SMALL = ("--width", "128", "--height", "64", "--seed", "3", "--engine", "tile")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.main.TILE_DELAY_S", 0.0)


def nuwa(*words: str | Path) -> Result:
    return CliRunner().invoke(app, ["generate", *map(str, words)])


def photo(folder: Path) -> Path:
    path = folder / "photo.png"
    Image.linear_gradient("L").resize((130, 70)).convert("RGB").save(path)
    return path


def frames(path: Path) -> int:
    with av.open(str(path)) as film:
        return sum(1 for _ in film.decode(video=0))


def test_a_picture_is_written_in_the_format_of_its_name(tmp_path: Path) -> None:
    outcome = nuwa("a lake", "-o", tmp_path / "lake.webp", *SMALL)
    assert outcome.exit_code == 0, outcome.output
    assert "lake.webp: 128x64 pixels" in outcome.output
    with Image.open(tmp_path / "lake.webp") as image:
        assert (image.format, image.size) == ("WEBP", (128, 64))


@pytest.mark.parametrize("suffix", ["mp4", "webm", "gif", "webp"])
def test_a_film_is_written_in_the_format_of_its_name(suffix: str, tmp_path: Path) -> None:
    out = tmp_path / f"film.{suffix}"
    outcome = nuwa("a lake", "--task", "text_to_video", "--frames", "3", "--fps", "8", "-o", out, *SMALL)
    assert outcome.exit_code == 0, outcome.output
    assert f"film.{suffix}: 3 frames of 128x64 pixels" in outcome.output
    if suffix in ("webp", "gif"):
        with Image.open(out) as image:
            assert (image.n_frames, image.size) == (3, (128, 64))
    else:
        assert frames(out) == 3


def test_a_picture_is_animated_or_extended(tmp_path: Path) -> None:
    film = nuwa("--image", photo(tmp_path), "--frames", "2", "-o", tmp_path / "film.mp4", "--engine", "tile")
    assert "film.mp4: 2 frames of 130x70 pixels" in film.output
    wider = nuwa("--image", photo(tmp_path), "--width", "200", "-o", tmp_path / "wide.png", "--engine", "tile")
    assert "wide.png: 200x70 pixels" in wider.output


def test_a_picture_is_extended_by_sides_or_drawn_anew_where_a_mask_is_white(tmp_path: Path) -> None:
    given = photo(tmp_path)
    wider = nuwa("--image", given, "--extend", "left=20,top=6", "-o", tmp_path / "wide.png", "--engine", "tile")
    assert "wide.png: 150x76 pixels" in wider.output
    mask = Image.new("L", (130, 70))
    mask.paste(255, (100, 10, 120, 40))
    mask.save(tmp_path / "mask.png")
    outcome = nuwa("--image", given, "--mask", tmp_path / "mask.png", "-o", tmp_path / "new.png", "--engine", "tile")
    assert outcome.exit_code == 0, outcome.output
    with Image.open(given) as before, Image.open(tmp_path / "new.png") as after:
        changed = (np.asarray(before) != np.asarray(after)).any(axis=2)
    assert changed[10:40, 100:120].any()
    changed[10:40, 100:120] = False
    assert not changed.any()


def test_a_server_draws_the_same_film_and_the_same_animation(serve: Callable[..., Any], tmp_path: Path) -> None:
    served, asked = serve(), ("a lake", "--frames", "2", "--width", "64", "--height", "64", "--seed", "3")
    for name, more in (("words", asked), ("picture", ("--image", photo(tmp_path), "--frames", "2", "--seed", "3"))):
        here, there = tmp_path / f"{name}-here.webm", tmp_path / f"{name}-there.webm"
        assert nuwa(*more, "-o", here, "--engine", "tile").exit_code == 0
        outcome = nuwa(*more, "-o", there, "--server", served.url)
        assert outcome.exit_code == 0, outcome.output
        assert here.read_bytes() == there.read_bytes()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("a", "-o", "film.mp4"), "name a .png, .webp, .jpg, .jpeg file for a picture"),
        (("a", "--frames", "2", "-o", "film.png"), "name a .mp4, .webm, .webp, .gif file for a film"),
        (("a", "--frames", "0", "-o", "film.mp4"), "frames: Input should be greater than or equal to 1"),
        (("a", "--frames", "1000000", "-o", "film.mp4"), "frames must be at most 1200 (got 1000000)"),
        (("a", "--task", "t2i", "--fps", "8", "-o", "a.png"), "task text_to_image takes no fps"),
        (("--frames", "2", "-o", "film.mp4"), "prompt is required for task text_to_video"),
        (("--task", "animation", "-o", "film.mp4"), "image is required for task image_animation"),
        (("--image", "nowhere.png", "--frames", "2", "-o", "film.mp4"), "nowhere.png: No such file"),
        (("a", "--frames", "2", "--fps", "51", "-o", "film.gif", *SMALL), "at most 50 frames a second"),
        (("a", "-o", "nowhere/a.png"), "there is no folder"),
        (("--extend", "left=8", "-o", "a.png"), "image is required for task image_outpainting"),
        (("--extend", "left", "-o", "a.png"), "extend: left: Input should be a valid integer"),
        (("--extend", "up=8", "-o", "a.png"), "extend: up: Extra inputs are not permitted"),
        (("a", "--mask", "nowhere.png", "-o", "a.png"), "nowhere.png: No such file"),
    ],
)
def test_what_cannot_be_drawn_is_said_in_one_line(words: tuple[str, ...], message: str, tmp_path: Path) -> None:
    out = tmp_path / words[words.index("-o") + 1]
    outcome = nuwa(*(out if word == words[words.index("-o") + 1] else word for word in words), "--engine", "tile")
    assert outcome.exit_code == 1
    assert message in " ".join(outcome.output.split())
    assert not out.exists()
