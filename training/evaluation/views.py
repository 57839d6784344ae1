"""What the attribute classifier learns from: views of rendered scenes, and which of what they show can be asked."""

import io
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from training.attributes import ATTRIBUTE_VALUES, Attributes
from training.datasets import HELD_OUT_SEEDS, to_float, to_uint8
from training.scenes import render, sample_scenes

NAMES = tuple(ATTRIBUTE_VALUES)
SCENES_PER_RENDER = 8


@dataclass(frozen=True)
class ViewKind:
    """A canvas and the part of it that is seen: height, width in px, and the share of all views."""

    canvas: tuple[int, int]
    window: tuple[int, int]
    share: float

    @property
    def asked(self) -> tuple[str, ...]:
        """The attributes that such a view shows.

        A canvas shows all of them. A window as high as the canvas lacks at most the sun, moon and stars. Any other
        block may be nothing but sky or ground, and only its colours speak, of the time of day.
        """
        if self.window == self.canvas:
            return NAMES
        if self.window[0] == self.canvas[0]:
            return tuple(name for name in NAMES if name != "celestial")
        return ("time_of_day",)


VIEW_KINDS = (
    ViewKind((256, 256), (256, 256), 0.54),
    ViewKind((192, 192), (192, 192), 0.08),
    ViewKind((256, 384), (256, 384), 0.08),
    ViewKind((384, 256), (384, 256), 0.04),
    ViewKind((256, 1024), (256, 256), 0.13),
    ViewKind((512, 512), (256, 256), 0.13),
)


@dataclass(frozen=True)
class Views:
    """Views of one kind: pixels uint8 [N, 3, h, w], labels int64 [N, attributes], -1 where it cannot be asked."""

    pixels: Tensor
    labels: Tensor


def labels_of(attributes: list[Attributes], asked: tuple[str, ...] = NAMES) -> Tensor:
    """[N, attributes] int64: the index of each value in ATTRIBUTE_VALUES, -1 for attributes not asked."""
    rows = [[v.index(getattr(a, n)) if n in asked else -1 for n, v in ATTRIBUTE_VALUES.items()] for a in attributes]
    return torch.tensor(rows)


def render_views(kind: ViewKind, count: int, rng: random.Random) -> Views:
    """Draw `count` views of training scenes."""
    pixels, labels = [], []
    for start in range(0, count, SCENES_PER_RENDER):
        (height, width), (rows, columns) = kind.canvas, kind.window
        scenes = sample_scenes(
            min(SCENES_PER_RENDER, count - start), rng.randrange(HELD_OUT_SEEDS), aspect=width / height
        )
        top, left = rng.randrange(height - rows + 1), rng.randrange(width - columns + 1)
        pixels.append(to_uint8(render(scenes, kind.canvas, box=(top, left, top + rows, left + columns))))
        labels.append(labels_of(scenes.attributes, kind.asked))
    return Views(torch.cat(pixels), torch.cat(labels))


def cached_views(file: Path, count: int, seed: int = 0) -> list[Views]:
    """About `count` views, one entry for each of VIEW_KINDS; rendered once, 50 ms each, then read from `file`."""
    if not file.exists():
        kept: list[dict[str, Any]] = []
        rng = random.Random(seed)
        for kind in tqdm(VIEW_KINDS, desc="rendering views"):
            views = render_views(kind, max(1, round(count * kind.share)), rng)
            kept.append({"pixels": views.pixels, "labels": views.labels})
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.save(kept, file)
    return [Views(**entry) for entry in torch.load(file, mmap=True, weights_only=True)]


class ViewSource:
    """Draws training batches from views: one kind per batch, in proportion to how many there are."""

    def __init__(self, views: list[Views], seed: int) -> None:
        self._views, self._random = views, random.Random(seed)

    def batch(self, count: int) -> tuple[Tensor, Tensor]:
        """-> pixels [count, 3, h, w] float in [-1, 1], worn as real pictures are, and labels [count, attributes]."""
        views = self._random.choices(self._views, [len(v.labels) for v in self._views])[0]
        index = torch.tensor([self._random.randrange(len(views.labels)) for _ in range(count)])
        pixels = torch.stack([worn(picture, self._random) for picture in views.pixels[index]])
        scale = self._random.choice((1.0, self._random.uniform(0.8, 1.1)))
        size = [round(side * scale) for side in pixels.shape[-2:]]
        return F.interpolate(pixels, size=size, mode="bilinear", antialias=True).clamp(-1, 1), views.labels[index]


def worn(picture: Tensor, rng: random.Random) -> Tensor:
    """uint8 [3, h, w] -> float in [-1, 1]: mirrored, and most then compressed, blurred, noisy or tinted a little.

    So that what is read does not hinge on edges as sharp as the renderer's.
    """
    if rng.random() < 0.5:
        picture = picture.flip(-1)
    if rng.random() < 0.4:
        return to_float(picture)  # stars are a pixel wide: they must be seen as they are, too
    if rng.random() < 0.4:
        stored = io.BytesIO()
        Image.fromarray(picture.permute(1, 2, 0).numpy()).save(stored, "JPEG", quality=rng.randrange(55, 96))
        picture = torch.from_numpy(np.array(Image.open(stored))).permute(2, 0, 1)
    pixels = to_float(picture)
    if rng.random() < 0.4:
        side = rng.uniform(0.02, 0.22)  # weight of each neighbour: from hardly any blur to one pixel's width
        taps = torch.tensor([side, 1 - 2 * side, side])
        framed = F.pad(pixels[:, None], (1, 1, 1, 1), mode="replicate")
        pixels = F.conv2d(framed, (taps[:, None] * taps)[None, None])[:, 0]
    if rng.random() < 0.4:
        pixels = pixels + torch.randn_like(pixels) * rng.uniform(0.0, 0.05)
    if rng.random() < 0.5:
        pixels = pixels + torch.tensor([[[rng.uniform(-0.05, 0.05)]] for _ in range(3)])
    return pixels
