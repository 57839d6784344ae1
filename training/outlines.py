"""Sketches and drafts of whole pictures (model/sketch.py): what transformer and sketcher are trained with."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from canvas.grid import Grid
from model.config import ModelConfig
from model.sketch import draft_grids
from model.tokenizer import Tokenizer
from training.datasets import to_float
from training.scenes import SceneBatch, render

WHOLE_PX = 256  # shorter side of a canvas drawn whole for its sketch; half for those that are very wide


@dataclass(frozen=True)
class Sketches:
    """Of B canvases: tokens [B, m, m] of the whole squeezed into one patch, how many times as wide as high they are
    [B], and, where there are any, tokens of a draft of each, of R x C patches [B, R m, C m].
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

    def draft_of(self, rows: int, columns: int) -> Grid | None:
        """The last draft of a canvas of so many patches; None where it has none, or models have none."""
        drafts = draft_grids(Grid(1, rows, columns, self.patch_px)) if self.drafts else []
        return drafts[-1] if drafts else None

    def of_wholes(self, wholes: Iterable[Tensor], aspects: Sequence[float], draft: Grid | None = None) -> Sketches:
        """Of whole pictures, each [3, H, W] in [-1, 1], so many times as wide as high, with drafts of this grid."""
        wholes = list(wholes)
        return Sketches(
            self.encode(self.squeeze(wholes)),
            torch.tensor(aspects, device=self.device),
            None if draft is None else self.encode(self.squeeze(wholes, draft)),
        )

    def of_pictures(self, wholes: Sequence[Tensor], draft: Grid | None = None) -> Sketches:
        """Of one's own pictures, uint8 [3, H, W] of any sizes."""
        pixels = (to_float(whole.to(self.device)) for whole in wholes)
        return self.of_wholes(pixels, [whole.shape[2] / whole.shape[1] for whole in wholes], draft)

    def squeeze(self, wholes: Iterable[Tensor], draft: Grid | None = None) -> Tensor:
        """Pictures [3, H, W] as large as a draft, or else as a patch, each pixel the mean of what it covers."""
        sides = (self.patch_px, self.patch_px) if draft is None else (draft.height, draft.width)
        return torch.stack([F.adaptive_avg_pool2d(whole, sides) for whole in wholes])

    @torch.no_grad()
    def encode(self, pixels: Tensor) -> Tensor:
        """One by one on a CPU, where a batch is slower than its parts."""
        parts = pixels.split(16 if pixels.is_cuda else 1)
        return torch.cat([self.tokenizer.encode(part) for part in parts])


def draw_whole(
    scenes: SceneBatch, height: int, width: int, time_s: float, draft: Grid | None = None, side_px: int = WHOLE_PX
) -> Tensor:
    """Canvases of this shape, drawn whole and small, of whole_size()."""
    return render(scenes, whole_size(height, width, draft, side_px), time=time_s)


def whole_size(height: int, width: int, draft: Grid | None = None, side_px: int = WHOLE_PX) -> tuple[int, int]:
    """Height and width in px: so many along the shorter side, half as many of very wide ones, or as many as a draft."""
    shorter = side_px if width < 8 * height else side_px // 2
    if draft is not None:
        shorter = max(shorter, min(draft.height, draft.width))
    scale = shorter / min(height, width)
    return round(height * scale), round(width * scale)
