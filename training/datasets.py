"""Where pictures come from: endless rendered scenes, and folders of photographs."""

import csv
import random
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from training.scenes import render, sample_scenes

# Heights and widths of the canvases that scenes are drawn on, in pixels.
CANVAS_SIDES = (192, 256, 320, 384, 512, 768)
HELD_OUT_SEEDS = 2**31  # scenes for evaluation come from seeds from here on, training stays below


def to_uint8(pixels: Tensor) -> Tensor:
    """float [-1, 1] -> uint8 [0, 255]."""
    return ((pixels.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def to_float(pixels: Tensor) -> Tensor:
    """uint8 [0, 255] -> float32 [-1, 1]."""
    return pixels.float() / 127.5 - 1


class PicturePool:
    """A pool of pictures to cut crops from, one picture replaced by a fresh one every few crops.

    Rendering costs as much as a training step when every crop has a picture of its own; a pool with steady renewal
    keeps the variety and takes the cost away. photo_share of the crops come from `photos` (whole pictures, held in
    memory).
    """

    def __init__(
        self, seed: int, device: torch.device, photos: list[Tensor], photo_share: float, pictures: int
    ) -> None:
        self._random = random.Random(seed)
        self._device = device
        self._photos = photos
        self._photo_share = photo_share if photos else 0.0
        self._capacity = pictures
        self._pool: list[Tensor] = []
        self._next = 0
        while len(self._pool) < pictures:
            self.renew(8)

    def renew(self, count: int) -> None:
        """Render `count` fresh pictures of one size; the oldest leave."""
        seed = self._random.randrange(HELD_OUT_SEEDS)
        height, width = self._random.choice(CANVAS_SIDES), self._random.choice(CANVAS_SIDES)
        side = min(320, height), min(320, width)  # a window is as good as the whole, and cheaper
        top = self._random.randrange(height - side[0] + 1)
        left = self._random.randrange(width - side[1] + 1)
        scenes = sample_scenes(count, seed, aspect=width / height, device=self._device)
        box = (top, left, top + side[0], left + side[1])
        for picture in to_uint8(render(scenes, (height, width), box=box)):
            if len(self._pool) < self._capacity:
                self._pool.append(picture)
            else:
                self._pool[self._next] = picture
                self._next = (self._next + 1) % self._capacity

    def crops(self, count: int, side: int) -> Tensor:
        """[count, 3, side, side] float32 in [-1, 1], mirrored at random."""
        crops = []
        for _ in range(count):
            from_photo = self._random.random() < self._photo_share
            picture = self._random.choice(self._photos if from_photo else self._pool)
            _, height, width = picture.shape
            top, left = self._random.randrange(height - side + 1), self._random.randrange(width - side + 1)
            crop = picture[:, top : top + side, left : left + side]
            crops.append(crop.flip(-1) if self._random.random() < 0.5 else crop)
        return to_float(torch.stack(crops).to(self._device))


def held_out_scenes(count: int, height: int, width: int, device: torch.device, offset: int = 0) -> Tensor:
    """[count, 3, height, width] in [-1, 1]: scenes that no training run has drawn from."""
    scenes = sample_scenes(count, HELD_OUT_SEEDS + offset, aspect=width / height, device=device)
    return render(scenes, (height, width))


def load_photos(folder: Path, side_max: int = 640) -> dict[str, Tensor]:
    """Name -> [3, H, W] uint8 of every picture in a folder, shrunk to at most `side_max` pixels on the longer side."""
    photos = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in {".jpg", ".jpeg", ".png", ".webp"}:
            with Image.open(path) as image:
                picture = ImageOps.exif_transpose(image).convert("RGB")
                picture.thumbnail((side_max, side_max), Image.Resampling.LANCZOS)
                photos[path.name] = torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()
    return photos


def split_photos(folder: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Training and held-out photographs. Held out are whole sources (every fourth, by name), so none is nearly seen."""
    photos = load_photos(folder)
    sources = {name: name.split("__")[0] for name in photos}
    table = folder / "SOURCES.csv"
    if table.exists():
        with table.open(newline="", encoding="utf-8") as file:
            sources |= {row["file"]: row["source_repo"] for row in csv.DictReader(file)}
    held = set(sorted(set(sources.values()))[::4])
    return (
        {name: p for name, p in photos.items() if sources[name] not in held},
        {name: p for name, p in photos.items() if sources[name] in held},
    )
