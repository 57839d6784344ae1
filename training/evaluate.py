"""Figures of a folder of weights, all on data never trained on."""

import time
from pathlib import Path
from typing import Any

import torch

from canvas.grid import Grid
from canvas.plan import choose_order
from model.generate import Model, PatchDecoder, continue_canvas
from model.sampling import Sampling
from training.captions import caption
from training.datasets import HELD_OUT_SEEDS, held_out_scenes, split_photos, to_float
from training.tokenizer import crop_to_multiple, psnr, reconstruct
from training.transformer import CanvasLoss, TokenSource, TransformerRecipe

SCENES = 32


@torch.no_grad()
def evaluate_model(model: Model, photos: Path | None) -> list[dict[str, Any]]:
    """Rows of {name, value, unit, better: higher|lower}."""
    rows: list[dict[str, Any]] = []

    def row(name: str, value: float, unit: str, better: str) -> None:
        rows.append({"name": name, "value": round(value, 4), "unit": unit, "better": better})

    scenes = held_out_scenes(SCENES, 256, 256, model.device, offset=10_000)
    tokens = torch.cat([model.tokenizer.encode(s[None]) for s in scenes])
    row("tokenizer_psnr_scenes", psnr(reconstruct(model.tokenizer, scenes), scenes), "dB", "higher")
    row("tokenizer_codes_used", tokens.unique().numel() / model.config.tokenizer.codebook_size, "share", "higher")
    if photos is not None:
        held = [to_float(crop_to_multiple(p, 8)).to(model.device) for p in split_photos(photos)[1].values()]
        values = [psnr(reconstruct(model.tokenizer, p[None]), p[None]) for p in held]
        row("tokenizer_psnr_photos", sum(values) / len(values), "dB", "higher")
    source = TokenSource(model.tokenizer, model.config, TransformerRecipe(), model.device, 0)
    losses = CanvasLoss(model.transformer, model.words, model.device)
    batches = [source.render((4, 8), (4, 8), HELD_OUT_SEEDS + 20_000 + i) for i in range(4)]
    for order in model.config.transformer.orders:
        with_text = [losses(b, order, [caption(a, 7) for a in b.attributes]) for b in batches]
        row(f"transformer_loss_{order}", float(torch.stack(with_text).mean()), "nats a token", "lower")
    without = [losses(b, model.config.transformer.orders[0], [None] * len(b.attributes)) for b in batches]
    row("transformer_loss_no_text", float(torch.stack(without).mean()), "nats a token", "lower")
    row("picture_512x256", seconds_per_picture(model, 512, 256), "s", "lower")
    return rows


def seconds_per_picture(model: Model, width: int, height: int) -> float:
    """Tokens and final pixels of one picture, in one batch of four patches at a time."""
    decoder = PatchDecoder(model)
    grid = Grid.from_pixels(width, height, model.config.patch_px)
    order = choose_order(grid, decoder.extent, model.config.transformer.orders)
    sampling = Sampling(temperature=0.9, top_p=0.9, cfg_scale=3.0)
    started = time.perf_counter()
    canvas = decoder.start("timed", grid, order.name, "snowy mountains at sunset with a lake", sampling, 0)
    for _ in continue_canvas(decoder, canvas):
        pass
    for patch in grid:
        decoder.render(canvas, patch, refined=True)
    return time.perf_counter() - started
