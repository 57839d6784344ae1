"""Sketches and drafts of whole pictures (model/sketch.py): what transformer and sketcher are trained with."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from model.config import ModelConfig
from model.sketch import DRAFT_SIDE
from model.tokenizer import Tokenizer
from training.datasets import to_float
from training.scenes import SceneBatch, render

WHOLE_PX = 256  # shorter side of a canvas drawn whole for its sketch; half for those that are very wide


@dataclass(frozen=True)
class Sketches:
    """Of B canvases: tokens [B, m, m] of the whole squeezed into one patch, how many times as wide as high they are
    [B], and, where they are wanted, tokens of their drafts [B, 2 m, 2 m].
    """

    tokens: Tensor
    aspects: Tensor
    drafts: Tensor | None = None

    @property
    def followed(self) -> Tensor:
        """Tokens of what patches are told the pixels of: drafts, or where there are none, sketches."""
        return self.tokens if self.drafts is None else self.drafts


class Outliner:
    """Squeezes pictures and encodes them."""

    def __init__(self, tokenizer: Tokenizer, config: ModelConfig, device: torch.device) -> None:
        self.tokenizer, self.patch_px, self.device = tokenizer, config.patch_px, device
        self.drafts = config.transformer.draft

    def of_wholes(self, wholes: Tensor, aspects: Sequence[float], drafts: bool = True) -> Sketches:
        """Of whole pictures [B, 3, H, W] in [-1, 1], so many times as wide as high; drafts of models that have them."""
        return Sketches(
            self.encode(self.squeeze(wholes)),
            torch.tensor(aspects, device=self.device),
            self.encode(self.squeeze(wholes, DRAFT_SIDE)) if drafts and self.drafts else None,
        )

    def of_pictures(self, wholes: Sequence[Tensor]) -> Sketches:
        """Of one's own pictures, uint8 [3, H, W] of any sizes."""
        squeezed = [self.squeeze(to_float(whole[None].to(self.device)), DRAFT_SIDE) for whole in wholes]
        return self.of_wholes(torch.cat(squeezed), [whole.shape[2] / whole.shape[1] for whole in wholes])

    def squeeze(self, wholes: Tensor, patches: int = 1) -> Tensor:
        """Pictures [B, 3, H, W] as large as so many patches each way, each pixel the mean of what it covers."""
        return F.adaptive_avg_pool2d(wholes, patches * self.patch_px)

    @torch.no_grad()
    def encode(self, pixels: Tensor) -> Tensor:
        """One by one on a CPU, where a batch is slower than its parts."""
        parts = pixels.split(16 if pixels.is_cuda else 1)
        return torch.cat([self.tokenizer.encode(part) for part in parts])


def draw_whole(scenes: SceneBatch, height: int, width: int, time_s: float, side_px: int = WHOLE_PX) -> Tensor:
    """Canvases of this shape, drawn whole and small: so many pixels along the shorter side."""
    scale = (side_px if width < 8 * height else side_px // 2) / min(height, width)
    return render(scenes, (round(height * scale), round(width * scale)), time=time_s)
