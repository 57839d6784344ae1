"""Draws the sketch that a canvas begins with (sketch.py says what its patches are told of it)."""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from canvas.grid import Grid
from canvas.order import ORDERS
from canvas.plan import compile_plan
from model.config import ModelConfig
from model.sampling import Sampling
from model.transformer import Transformer

if TYPE_CHECKING:
    from model.generate import PatchDecoder

SKETCHES = 4  # drawn for each canvas with a prompt, to choose from
GAIN = 4.0  # how much faster the canvas's shape is learned than weights that were trained for long before


class Sketcher(Transformer):
    """Draws sketches, of the same shape as the transformer that draws patches, and trained apart from it.

    A sketch is a canvas of one patch, and what it is told beside the prompt is how wide the whole canvas is.
    """

    def __init__(self, config: ModelConfig) -> None:
        shape = replace(config.transformer, sketch=False, distilled_scale=1.0)
        super().__init__(replace(config, transformer=shape))
        self.aspect = nn.Linear(2, shape.width)
        nn.init.zeros_(self.aspect.weight)
        nn.init.zeros_(self.aspect.bias)

    def told(self, aspect: Tensor) -> Tensor:
        """What sketches are told of canvases so many times as wide as high [R]: [R, M, D]."""
        wide = aspect.log2() / 4
        told = GAIN * self.aspect(torch.stack([wide, wide.square()], -1))
        return told[:, None].expand(-1, self.config.tokens_per_patch, -1)


def draw_sketch(
    decoder: "PatchDecoder", key: str, grid: Grid, prompt: str | None, sampling: Sampling, seed: int
) -> Tensor:
    """The tokens [M] of a canvas's sketch, row by row: of several, the one that says most of the prompt.

    decoder: of a sketcher, with SKETCHES slots and room in its pool for as many.  key, grid, seed: of the canvas.
    """
    sketcher = decoder.reader
    assert isinstance(sketcher, Sketcher)
    whole = Grid(1, 1, 1, grid.patch_px)
    (patch,) = whole
    aspect = torch.tensor([grid.columns / grid.rows], dtype=sketcher.begin.dtype, device=decoder.model.device)
    beside = sketcher.told(aspect)
    plan = compile_plan(whole, ORDERS[decoder.config.orders[0]], decoder.extent)
    first = decoder.start_plan(key, plan, prompt, replace(sampling, distilled=False), seed)
    sketches = [
        replace(first, key=f"{key} {i}", seed=own_seed(seed, i), tokens=first.tokens.clone(), done=set(), beside=beside)
        for i in range(1 if prompt is None else SKETCHES)
    ]
    drawn = torch.stack(decoder.decode([(sketch, patch) for sketch in sketches]))
    for sketch in sketches:
        decoder.remove(sketch, patch)
    return drawn[0] if prompt is None else drawn[int(said(decoder, drawn, prompt, beside).argmax())]


def own_seed(seed: int, number: int) -> int:
    """Of a sketch of a canvas: noise that no other sketch has, nor the canvas itself, nor one of the next seed."""
    return int(np.random.SeedSequence((seed, number)).generate_state(1, np.uint64)[0])


def said(decoder: "PatchDecoder", tokens: Tensor, prompt: str, beside: Tensor) -> Tensor:
    """How much of a prompt sketches say, tokens [n, M] row by row: log p(sketch | prompt) / p(sketch), [n] nats.

    beside [1, M, D]: what they are told of their canvas.
    """
    sketcher, words, order = decoder.model.transformer, decoder.model.words, decoder.config.orders[0]
    m, count, device = decoder.config.patch_tokens, len(tokens), tokens.device
    steps = sketcher.scans[order].steps
    # As patches of one canvas that do not look at each other: so the prompt is read once.
    scanned = tokens[:, steps[:, 0] * m + steps[:, 1]].expand(2, -1, -1)
    logits = sketcher(
        scanned,
        words([prompt, None]).to(device),
        order,
        torch.full((count, 1), -1, device=device),
        torch.zeros(count, 3, dtype=torch.long, device=device),
        torch.tensor([0.0, 1.0, 0.0, 1.0], device=device).expand(2, count, -1),
        beside=beside.to(sketcher.begin.dtype).expand(2, count, -1, -1),
    )
    nats = F.cross_entropy(logits.flatten(0, 2), scanned.flatten(), reduction="none").view(2, count, -1).sum(-1)
    return nats[1] - nats[0]
