"""What every part of the evaluation is given: the weights, how many pictures, and scenes never trained on."""

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor
from tqdm import tqdm

from model.generate import Model
from training.attributes import Attributes, sample_attributes
from training.captions import caption
from training.datasets import HELD_OUT_SEEDS, to_float, to_uint8
from training.evaluation.pictures import Gallery
from training.scenes import render, sample_scenes

RENDERED_TOGETHER = 8  # scenes of one seed; more would only take memory
READ_TOGETHER = 64  # pictures that the classifier reads in one batch


class Classifier(Protocol):
    """Reads attributes off pixels [B, 3, H, W] in [-1, 1] (training/evaluation/classifier.py)."""

    def features(self, pixels: Tensor) -> Tensor: ...

    def predict(self, pixels: Tensor) -> list[dict[str, str]]: ...


@dataclass(frozen=True)
class Counts:
    """How many pictures each measure rests on, all in proportion to the number of prompts."""

    prompts: int = 500

    def share(self, of: int, at_least: int) -> int:
        """One for every `of` prompts."""
        return max(at_least, round(self.prompts / of))


@dataclass
class Setting:
    """One evaluation of one model.

    out: folder of the report, where drawn pictures are kept too.  load_classifier: called by the parts that need it.
    photos: a folder of photographs, of which some sources are held out.
    """

    model: Model
    out: Path
    load_classifier: Callable[[torch.device], Classifier]
    counts: Counts = field(default_factory=Counts)
    photos: Path | None = None
    slots: int = 32

    @cached_property
    def gallery(self) -> Gallery:
        return Gallery(self.model, self.out / "pictures", self.slots)

    @cached_property
    def classifier(self) -> Classifier:
        return self.load_classifier(self.model.device)

    def features(self, pixels: Tensor) -> Tensor:
        """uint8 [N, 3, H, W] -> what the classifier sees in them, [N, F]."""
        with torch.inference_mode():
            parts = [self.classifier.features(to_float(p.to(self.device))) for p in pixels.split(READ_TOGETHER)]
        return torch.cat(parts).cpu()

    def read(self, pixels: Tensor) -> list[dict[str, str]]:
        """uint8 [N, 3, H, W] -> the attributes that the classifier reads off each."""
        with torch.inference_mode():
            return [
                read
                for p in pixels.split(READ_TOGETHER)
                for read in self.classifier.predict(to_float(p.to(self.device)))
            ]

    @property
    def device(self) -> torch.device:
        return self.model.device

    def rendered(self, count: int, width: int, height: int, offset: int) -> tuple[Tensor, list[Attributes]]:
        """Scenes never trained on, as they come: uint8 [count, 3, height, width] on the CPU, and what they show.

        offset: sets with offsets of at least 10,000 between them share no scene.
        """
        pixels: list[Tensor] = []
        shown: list[Attributes] = []
        for start in _starts(count):
            some = min(RENDERED_TOGETHER, count - start)
            scenes = sample_scenes(some, HELD_OUT_SEEDS + offset + start, aspect=width / height, device=self.device)
            pixels.append(to_uint8(render(scenes, (height, width))).cpu())
            shown += scenes.attributes
        return torch.cat(pixels), shown

    def rendered_as(self, shown: Sequence[Attributes], offset: int) -> Tensor:
        """Scenes of 256x256 that show what is asked, never trained on: uint8 [N, 3, 256, 256] on the CPU."""
        pixels = []
        for start in _starts(len(shown)):
            some = shown[start : start + RENDERED_TOGETHER]
            seed = HELD_OUT_SEEDS + offset + start
            scenes = sample_scenes(len(some), seed, device=self.device, attributes=some)
            pixels.append(to_uint8(render(scenes, (256, 256))).cpu())
        return torch.cat(pixels)


def _starts(count: int) -> Iterable[int]:
    """Where each batch of scenes begins, with a bar when it takes long."""
    return tqdm(range(0, count, RENDERED_TOGETHER), desc="rendering", leave=False, delay=3, dynamic_ncols=True)


def held_out_captions(count: int, seed: int) -> list[str]:
    """Captions of landscapes as they come, in words and combinations that vary as those of training do."""
    rng = random.Random(f"held-out captions {seed}")
    return [caption(sample_attributes(rng), HELD_OUT_SEEDS + seed + i) for i in range(count)]
