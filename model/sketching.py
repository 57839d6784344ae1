"""Draws the sketch and the drafts that a canvas begins with (sketch.py says what its patches are told of them)."""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from canvas.grid import Grid, Patch
from canvas.order import ORDERS, wavefront
from canvas.plan import compile_plan
from model.canvas import Canvas
from model.config import ModelConfig
from model.known_outline import KnownWhole, Squeezed
from model.sampling import Sampling
from model.sketch import CLOSER, Outline, PixelReader, draft_grids
from model.transformer import Transformer

if TYPE_CHECKING:
    from model.generate import PatchDecoder

SKETCHES = 4  # drawn for each canvas that a prompt guides, to choose from
GUIDED = 0.5  # of the guidance that its patches have: more of it draws sketches that no scene has
GAIN = 4.0  # how much faster the canvas's shape is learned than weights that were trained for long before


class Sketcher(Transformer):
    """Draws sketches and drafts, of the same shape as the transformer that draws patches, and trained apart from it.

    A sketch is a canvas of one patch, and what it is told beside the prompt is how wide the whole canvas is. A draft's
    patches are told the same, and what the pixels of the sketch, or of the draft before it, show.
    """

    def __init__(self, config: ModelConfig) -> None:
        shape = replace(config.transformer, sketch=False, distilled_scale=1.0)
        super().__init__(replace(config, transformer=shape))
        self.aspect = nn.Linear(2, shape.width)
        nn.init.zeros_(self.aspect.weight)
        nn.init.zeros_(self.aspect.bias)
        if shape.draft:
            self.draft = PixelReader(shape.width, shape.patch_tokens, CLOSER)

    def told(self, aspect: Tensor) -> Tensor:
        """What sketches and drafts are told of canvases so many times as wide as high [R]: [R, M, D]."""
        wide = aspect.log2() / 4
        told = GAIN * self.aspect(torch.stack([wide, wide.square()], -1))
        return told[:, None].expand(-1, self.config.tokens_per_patch, -1)

    def follow(self, pixels: Tensor, place: Tensor, order: str) -> Tensor:
        """What pixels [B, 3, h, w] in [-1, 1], of sketches or drafts, tell the patches of the drafts after them, at
        place [B, N, 4]: [B, N, M, D] in scan order.
        """
        return self.draft.told_pixels(pixels, place, self.scans[order].steps)


def draw_outline(
    decoder: "PatchDecoder",
    key: str,
    grid: Grid,
    prompt: str | None,
    sampling: Sampling,
    seed: int,
    known: KnownWhole | None = None,
) -> Outline:
    """The sketch of a canvas, and the last of the drafts that follow it, of sketchers that have learned to.

    Of several sketches it is the one that says most of the prompt, by log p(sketch | prompt) / p(sketch).
    decoder: of a sketcher, with SKETCHES slots and room in its pool for as many, and for a draft.  key, grid, sampling,
    seed: of the canvas.  known: what is known of it; then its sketch goes on from that and is not drawn.
    """
    sketcher = decoder.reader
    assert isinstance(sketcher, Sketcher)
    whole = Grid(1, 1, 1, grid.patch_px)
    (patch,) = whole
    aspect = torch.tensor([grid.columns / grid.rows], dtype=sketcher.begin.dtype, device=decoder.model.device)
    beside = sketcher.told(aspect)
    plan = compile_plan(whole, ORDERS[decoder.config.orders[0]], decoder.extent)
    scale = 1 + GUIDED * (sampling.cfg_scale - 1)
    first = decoder.start_plan(key, plan, prompt, replace(sampling, cfg_scale=scale, distilled=False), seed)
    first.beside = beside
    if known is None or known.is_empty:
        outline = Outline(_draw_sketch(decoder, first, patch))
    else:
        squeezed = F.adaptive_avg_pool2d(known.continued(), (grid.patch_px, grid.patch_px))
        outline = Outline(decoder.model.tokenizer.encode(squeezed[None].to(decoder.model.device))[0])
    for number, draft in enumerate(draft_grids(grid) if decoder.config.draft else []):
        canvas = replace(first, seed=own_seed(seed, SKETCHES + number))
        outline = replace(outline, draft=_draw_draft(decoder, canvas, draft, outline.shown, known))
    return outline


def _draw_sketch(decoder: "PatchDecoder", first: Canvas, patch: Patch) -> Tensor:
    """The tokens [m, m] of the best of some sketches. first: canvas of one.  patch: its only one."""
    key, seed = first.key, first.seed
    said = torch.zeros(SKETCHES if first.branches(patch) > 1 else 1, dtype=torch.float64)
    sketches = [
        replace(
            first,
            key=f"{key} {i}",
            seed=own_seed(seed, i),
            tokens=first.tokens.clone(),
            done=set(),
            said=said[i : i + 1],
        )
        for i in range(len(said))
    ]
    drawn = decoder.decode([(sketch, patch) for sketch in sketches])
    for sketch in sketches:
        decoder.remove(sketch, patch)
    return drawn[int(said.argmax())].view(decoder.config.patch_tokens, -1)


def _draw_draft(
    decoder: "PatchDecoder", sketch: Canvas, grid: Grid, before: Tensor, known: KnownWhole | None = None
) -> Tensor:
    """A draft's tokens [R m, C m]. sketch: canvas of it.  before: tokens of what the draft follows."""
    side, slots = decoder.config.patch_tokens, decoder.slots
    followed = decoder.pixels.decode(before[None])
    draft = replace(
        sketch,
        plan=compile_plan(grid, sketch.order, decoder.extent),
        tokens=torch.zeros(1, grid.rows * side, grid.columns * side, dtype=torch.long, device=before.device),
        done=set(),
        followed=followed.to(decoder.reader.begin.dtype),
        known=None if known is None else Squeezed(known, grid, followed),
    )
    for patches in wavefront(grid, draft.order, decoder.extent):
        for start in range(0, len(patches), slots):
            decoder.decode([(draft, patch) for patch in patches[start : start + slots]])
    for patch in grid:
        decoder.remove(draft, patch)
    return draft.tokens[0]


def own_seed(seed: int, number: int) -> int:
    """Of a sketch of a canvas: noise that no other sketch has, nor the canvas itself, nor one of the next seed."""
    return int(np.random.SeedSequence((seed, number)).generate_state(1, np.uint64)[0])
