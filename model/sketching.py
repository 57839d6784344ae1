"""Draws the sketch that a canvas begins with (sketch.py says what its patches are told of it)."""

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from canvas.grid import Grid
from canvas.order import ORDERS
from canvas.plan import compile_plan
from model.canvas import Canvas

if TYPE_CHECKING:
    from model.generate import Model, PatchDecoder

SKETCHES = 4  # drawn for each canvas with a prompt, to choose from
APART = 0x736B65746368  # sets the noise of sketches apart from that of their canvas


def draw_sketch(decoder: "PatchDecoder", canvas: Canvas, prompt: str | None) -> Tensor:
    """The tokens [M] of a canvas's sketch, row by row: of several, the one that says most of the prompt."""
    config, whole = decoder.config, Grid(1, 1, 1, canvas.grid.patch_px)
    (patch,) = whole
    sketches = [
        replace(
            canvas,
            key=f"{canvas.key} sketch {i}",
            plan=compile_plan(whole, ORDERS[config.orders[0]], decoder.extent),
            seed=canvas.seed ^ (APART + i),
            tokens=canvas.tokens[:1, : config.patch_tokens, : config.patch_tokens].clone(),
            done=set(),
            sketch_of=canvas.grid.columns / canvas.grid.rows,
        )
        for i in range(1 if prompt is None else SKETCHES)
    ]
    drawn: list[Tensor] = []
    together = max(1, min(decoder.slots, decoder.pool.free // canvas.branches))
    while some := sketches[len(drawn) : len(drawn) + together]:
        drawn += decoder.decode([(sketch, patch) for sketch in some])
        for sketch in some:
            decoder.remove(sketch, patch)
    if prompt is None:
        return drawn[0]
    return drawn[int(said(decoder.model, torch.stack(drawn), prompt, sketches[0]).argmax())]


def said(model: "Model", tokens: Tensor, prompt: str, sketch: Canvas) -> Tensor:
    """How much of a prompt sketches say, tokens [n, M] row by row: log p(sketch | prompt) / p(sketch), [n] nats."""
    transformer, order, m = model.transformer, sketch.order.name, model.config.transformer.patch_tokens
    count, device = len(tokens), model.device
    steps = transformer.scans[order].steps
    scanned = tokens[:, steps[:, 0] * m + steps[:, 1]].repeat(2, 1)
    logits = transformer(
        scanned[:, None],
        model.words([prompt] * count + [None] * count).to(device),
        order,
        torch.full((1, 1), -1, device=device),
        torch.zeros(1, 3, dtype=torch.long, device=device),
        torch.tensor([0.0, 1.0, 0.0, 1.0], device=device).expand(2 * count, 1, -1),
        beside=transformer.of_sketch(torch.tensor([sketch.sketch_of] * 2 * count, device=device))[:, None],
    )
    nats = F.cross_entropy(logits.flatten(0, 2), scanned.flatten(), reduction="none").view(2, count, -1).sum(-1)
    return nats[1] - nats[0]
