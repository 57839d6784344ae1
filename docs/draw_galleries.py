"""Draws the galleries of films and of pictures that go on: python -m docs.draw_galleries --photos FOLDER

Starts `nuwa serve` with the shipped weights and sends it every request below. What comes back is written beside the
README.md of each gallery, and requests and credits between the marks in it; what is said about them stays.
--only films or outpainting draws one gallery.  --photos: the folder that docs/training.md was trained with.
"""

import argparse
import io
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from PIL import Image, ImageDraw

from docs.shipped_server import shipped_server

DOCS = Path(__file__).parent
MARKS = "<!-- drawn -->", "<!-- /drawn -->"
PHOTO_WIDTH = 256  # px: what is drawn goes on from a photograph made so wide
CALM = {"temperature": 0.6}  # for films, near the photograph
MILD = {"temperature": 0.8, "cfg_scale": 1.5}
DRAWN_MAX_S = 1800


@dataclass(frozen=True)
class Photo:
    """A photograph, held out from training. file: its name in the folder of photographs."""

    file: str
    credit: str


@dataclass(frozen=True)
class Entry:
    """A picture of a gallery: `name`.webp, drawn for a request, with a photograph as `image` or without.

    mask: corners of the polygon that is white in `mask`, x and y in pixels of the photograph.
    """

    name: str
    request: dict[str, Any]
    photo: Photo | None = None
    mask: tuple[tuple[int, int], ...] = ()


SEA = Photo(
    "asteroid__031-frankenstein91-come2darkside.jpg", "Frankenstein91, CC0 1.0 (AsteroidOS/asteroid-wallpapers)"
)
SURF = Photo(
    "asteroid__027-brett-jordan-ccby2-pinky-sunset-flickr.jpg",
    "Brett Jordan, [CC BY 2.0](https://creativecommons.org/licenses/by/2.0/) (AsteroidOS/asteroid-wallpapers); changed",
)
RIDGE = Photo(
    "deepin__lucian-dachman-qxo2pbn7eku-unsplash.jpg",
    "Lucian Dachman, [Unsplash License](https://unsplash.com/license) (linuxdeepin/deepin-wallpapers); changed",
)
MIST = Photo(
    "deepin__wolfgang-hasselmann-wrvvyxq11yk-unsplash.jpg",
    "Wolfgang Hasselmann, [Unsplash License](https://unsplash.com/license) (linuxdeepin/deepin-wallpapers); changed: a "
    "dark bird flew there",
)
BIRD = ((61, 95), (58, 87), (79, 79), (90, 63), (98, 65), (89, 84), (79, 90))
SMALL_FILM = {"frames": 12, "fps": 8, "width": 256, "height": 256}


def _film(prompt: str, seed: int) -> dict[str, Any]:
    return {"task": "text_to_video", "prompt": prompt, **SMALL_FILM, "seed": seed}


def _animation(prompt: str, seed: int) -> dict[str, Any]:
    return {"task": "image_animation", "prompt": prompt, "frames": 12, "fps": 8, "seed": seed, "sampling": CALM}


def _extension(prompt: str | None, seed: int, **how: Any) -> dict[str, Any]:
    told = {} if prompt is None else {"prompt": prompt}
    return {"task": "image_outpainting", **told, **how, "seed": seed, "sampling": MILD}


ALL_SIDES = {"extend": {"left": 192, "right": 192, "top": 64, "bottom": 64}}

# Written before any of them was seen; nothing is chosen among several seeds.
GALLERIES: dict[str, tuple[Entry, ...]] = {
    "films": (
        Entry("pan", _film("mountains at sunset with a lake, the camera pans right", 1)),
        Entry("clouds", _film("rolling hills in the morning with many clouds, a still camera, time-lapse", 2)),
        Entry("night", _film("a full moon above snowy mountains at night, panning left", 3)),
        Entry("sea", _animation("a photo of the sea with many clouds, static shot, time-lapse", 1), SEA),
        Entry("surf", _animation("a photo of the sea at sunset, a still camera", 2), SURF),
        Entry("ridge", _animation("a photo: snowy mountains at dusk, the camera pans right", 3), RIDGE),
    ),
    "outpainting": (
        Entry("sea", _extension("a photo of the sea with many clouds", 1, **ALL_SIDES), SEA),
        Entry("surf", _extension("a photo of the sea at sunset", 2, **ALL_SIDES), SURF),
        Entry("ridge", _extension(None, 3, **ALL_SIDES), RIDGE),
        Entry("mist", _extension("a photo of white mist", 4), MIST, BIRD),
    ),
}


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--photos", type=Path, required=True)
    asked.add_argument("--only", choices=list(GALLERIES))
    options = asked.parse_args()
    with shipped_server() as address, httpx.Client(base_url=address, timeout=90) as client:
        for name in GALLERIES if options.only is None else (options.only,):
            draw(client, DOCS / "gallery" / name, GALLERIES[name], options.photos)


def draw(client: httpx.Client, folder: Path, entries: Sequence[Entry], photos: Path) -> None:
    """All pictures of a gallery, then its README.md."""
    for entry in entries:
        began = time.monotonic()
        (folder / f"{entry.name}.webp").write_bytes(_drawn(client, entry, photos))
        print(f"{folder.name}/{entry.name}.webp: {time.monotonic() - began:.0f} s", flush=True)
    for old in folder.glob("*.webp"):
        if old.stem not in {entry.name for entry in entries}:
            old.unlink()
    [model] = client.get("/models").json()["models"]
    readme = folder / "README.md"
    text = readme.read_text(encoding="utf-8")
    readme.write_text(with_table(text, table(entries, f"{model['name']} {model['version']}")), encoding="utf-8")


def table(entries: Sequence[Entry], weights: str) -> str:
    """Pictures, requests and credits, as Markdown."""
    lines = [f"Made by `python -m docs.draw_galleries`, weights {weights}.", ""]
    for is_given in (False, True):
        rows = [entry for entry in entries if (entry.photo is not None) is is_given]
        if is_given and rows:
            lines += [f"Photographs were made {PHOTO_WIDTH} pixels wide. None was trained on.", ""]
        if rows:
            lines += ["| | request, with the photograph as `image` | photograph |" if is_given else "| | request |"]
            lines += ["|---" * (3 if is_given else 2) + "|"]
            for entry in rows:
                cells = [f"![{entry.name}]({entry.name}.webp)", f"`{json.dumps(entry.request)}`"]
                if entry.mask:
                    cells[-1] += f" and as `mask` a black picture with a white polygon, `{json.dumps(entry.mask)}`"
                cells += [] if entry.photo is None else [entry.photo.credit]
                lines += ["| " + " | ".join(cells) + " |"]
            lines += [""]
    return "\n".join(lines)


def with_table(text: str, drawn: str) -> str:
    """A README with what stands between the marks replaced. Raises ValueError where a mark is missing."""
    start, end = (text.index(mark) for mark in MARKS)
    return f"{text[: start + len(MARKS[0])]}\n{drawn}{text[end:]}"


def _drawn(client: httpx.Client, entry: Entry, photos: Path) -> bytes:
    """The result as WebP. Raises RuntimeError when it was refused or failed."""
    form: dict[str, Any] = {"request": (None, json.dumps(entry.request))}
    if entry.photo is not None:
        photo = _small(photos / entry.photo.file)
        form["image"] = ("photo.png", _png(photo), "image/png")
        if entry.mask:
            mask = Image.new("L", photo.size)
            ImageDraw.Draw(mask).polygon(entry.mask, fill=255)
            form["mask"] = ("mask.png", _png(mask), "image/png")
    answer = client.post("/generate", files=form)
    if answer.is_error:
        raise RuntimeError(answer.text)
    job, deadline = answer.json(), time.monotonic() + DRAWN_MAX_S
    while job["status"] in ("queued", "running") and time.monotonic() < deadline:
        time.sleep(0.5)
        job = client.get(job["links"]["self"]).json()
    if job["status"] != "succeeded":
        raise RuntimeError(f"{entry.name}: {job['status']} {job['error']}")
    return client.get(job["links"]["result"], params={"format": "webp"}).content


def _small(photo: Path) -> Image.Image:
    """PHOTO_WIDTH pixels wide."""
    with Image.open(photo) as image:
        size = PHOTO_WIDTH, round(PHOTO_WIDTH * image.height / image.width)
        return image.convert("RGB").resize(size, Image.Resampling.LANCZOS)


def _png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


if __name__ == "__main__":
    main()
