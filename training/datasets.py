"""Where pictures come from when nobody gives any: endless rendered scenes. One's own pictures: folders.py."""

import random
from dataclasses import replace

import torch
from torch import Tensor

from training.attributes import Attributes, sample_attributes
from training.scenes import SceneBatch, render, sample_scenes

# Heights and widths of the canvases that scenes are drawn on, in pixels.
CANVAS_SIDES = (192, 256, 320, 384, 512, 768)
HELD_OUT_SEEDS = 2**31  # scenes for evaluation come from seeds from here on, training stays below


def to_uint8(pixels: Tensor) -> Tensor:
    """float [-1, 1] -> uint8 [0, 255]."""
    return ((pixels.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def to_float(pixels: Tensor) -> Tensor:
    """uint8 [0, 255] -> float32 [-1, 1]."""
    return pixels.float() / 127.5 - 1


def starry_attributes(count: int, rng: random.Random) -> list[Attributes]:
    """What so many scenes with stars show."""
    shown: list[Attributes] = []
    while len(shown) < count:
        if "stars" in (drawn := sample_attributes(rng)).celestial:
            shown.append(drawn)
    return shown


def without_stars(scenes: SceneBatch) -> SceneBatch:
    """The same scenes; what they differ by is stars."""
    return replace(scenes, numbers={**scenes.numbers, "stars": torch.zeros_like(scenes.numbers["stars"])})


class PicturePool:
    """A pool of pictures to cut crops from, one picture replaced by a fresh one every few crops.

    Rendering costs as much as a training step when every crop has a picture of its own; a pool with steady renewal
    keeps the variety and takes the cost away. starry: how often all scenes of a renewal have stars.
    """

    def __init__(self, seed: int, device: torch.device, pictures: int, starry: float = 0.0) -> None:
        self._random = random.Random(seed)
        self._device = device
        self._capacity, self._starry = pictures, starry
        self._pool: list[Tensor] = []
        self._next = 0
        while len(self._pool) < pictures:
            self.renew(8)

    def renew(self, count: int) -> None:
        """Render `count` fresh pictures of one size; the oldest leave."""
        seed = self._random.randrange(HELD_OUT_SEEDS)
        height, width = self._random.choice(CANVAS_SIDES), self._random.choice(CANVAS_SIDES)
        side = min(320, height), min(320, width)  # a window is as good as the whole, and cheaper
        shown = starry_attributes(count, self._random) if self._random.random() < self._starry else None
        top = self._random.randrange((height - side[0]) // (1 if shown is None else 2) + 1)  # stars are above
        left = self._random.randrange(width - side[1] + 1)
        scenes = sample_scenes(count, seed, aspect=width / height, device=self._device, attributes=shown)
        size, box = (height, width), (top, left, top + side[0], left + side[1])
        pixels = render(scenes, size, box=box)
        stars = torch.zeros_like(pixels[:, :1])
        if self._starry and scenes.numbers["stars"].any():
            stars = (pixels - render(without_stars(scenes), size, box=box)).abs().amax(1, keepdim=True).clamp(max=1)
        for picture in torch.cat([to_uint8(pixels), (stars * 255).to(torch.uint8)], 1):
            if len(self._pool) < self._capacity:
                self._pool.append(picture)
            else:
                self._pool[self._next] = picture
                self._next = (self._next + 1) % self._capacity

    def crops(self, count: int, side: int) -> tuple[Tensor, Tensor]:
        """[count, 3, side, side] float32 in [-1, 1], mirrored at random; how much of each pixel is stars, [count, 1,
        side, side] in [0, 1], all 0 where none were asked for.
        """
        crops = []
        for _ in range(count):
            picture = self._random.choice(self._pool)
            _, height, width = picture.shape
            top, left = self._random.randrange(height - side + 1), self._random.randrange(width - side + 1)
            crop = picture[:, top : top + side, left : left + side]
            crops.append(crop.flip(-1) if self._random.random() < 0.5 else crop)
        both = torch.stack(crops).to(self._device)
        return to_float(both[:, :3]), both[:, 3:] / 255


def held_out_scenes(count: int, height: int, width: int, device: torch.device, offset: int = 0) -> Tensor:
    """[count, 3, height, width] in [-1, 1]: scenes that no training run has drawn from."""
    scenes = sample_scenes(count, HELD_OUT_SEEDS + offset, aspect=width / height, device=device)
    return render(scenes, (height, width))
