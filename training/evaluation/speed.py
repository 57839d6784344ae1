"""Seconds per picture, and the transformer's losses: what training watches, on scenes never trained on."""

import time
from dataclasses import replace

import torch

from canvas.grid import Grid
from canvas.plan import choose_order
from model.generate import Model, PatchDecoder, continue_canvas
from model.pixels import final_pixels
from model.sampling import Sampling
from training.datasets import HELD_OUT_SEEDS
from training.evaluation.pictures import SERVED
from training.evaluation.rows import Part, Row
from training.evaluation.setting import Setting
from training.losses import CanvasLoss
from training.sources import TokenSource, Window

BATCHES, PATCHES = 4, 64  # of the losses


def measure(setting: Setting) -> Part:
    """Losses of every order, the loss without a prompt, and the time of one picture of 512x256."""
    rows = [*loss_rows(setting.model), speed_row(setting.model)]
    if setting.model.config.transformer.distilled_scale >= SERVED.cfg_scale:
        rows.append(speed_row(setting.model, distilled=True))
    return Part(rows)


@torch.no_grad()
def loss_rows(model: Model) -> list[Row]:
    """Cross-entropy in nats a token, each order on the same pictures."""
    source = TokenSource(model.tokenizer, model.config, model.device, 0, patches=PATCHES)
    losses = CanvasLoss(model.transformer, model.tokenizer, model.words, model.device)
    window = Window(1.0, 4, 8, 4, 8)
    batches = [source.render(window, HELD_OUT_SEEDS + 20_000 + i) for i in range(BATCHES)]
    count = sum(len(batch.tokens) for batch in batches)

    def row(name: str, label: str, order: str, told: bool) -> Row:
        values = [losses(b, order, b.prompts(7) if told else [None] * len(b.tokens)) for b in batches]
        return Row(name, label, float(torch.cat(values).mean()), "nats a token", "lower", None, count)

    orders = model.config.transformer.orders
    rows = [row(f"transformer_loss_{order}", f"loss, {order}", order, True) for order in orders]
    return [*rows, row("transformer_loss_no_text", f"loss without a prompt, {orders[0]}", orders[0], False)]


def speed_row(model: Model, distilled: bool = False) -> Row:
    """The wall-clock time of one picture with guidance, four patches a batch, tokens and final pixels."""
    name, label = "picture_512x256", f"one picture of 512x256, {torch.get_num_threads()} threads"
    if distilled:
        name, label = f"{name}_distilled", f"{label}, guidance in one pass"
    seconds = seconds_per_picture(model, 512, 256, replace(SERVED, distilled=distilled))
    return Row(name, label, seconds, "s", "lower", None, 1, note=f"on {model.device.type}, alone")


def seconds_per_picture(model: Model, width: int, height: int, sampling: Sampling = SERVED) -> float:
    """Tokens and final pixels of one picture, in batches of at most four patches, as a worker draws it alone."""
    decoder = PatchDecoder(model)
    grid = Grid.from_pixels(width, height, model.config.patch_px)
    order = choose_order(grid, decoder.extent, model.config.transformer.orders)
    started = time.perf_counter()
    canvas = decoder.start("timed", grid, order.name, "snowy mountains at sunset with a lake", sampling, 0)
    for _ in continue_canvas(decoder, canvas):
        pass
    final_pixels(decoder, canvas, list(grid))
    return time.perf_counter() - started
