"""Teaches a new reader what the pixels of a sketch or draft tell, before a transformer learns with it.

A transformer that already draws well hardly listens to what is new: what its neighbours tell costs it nothing to use.
But the pixels around a token tell a good deal of which token it is, and that much is learned in minutes, alone.
"""

import random
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from model.sketch import PixelReader
from model.tokenizer import Tokenizer
from model.transformer import Transformer
from training.device import autocast
from training.loop import RunSettings
from training.losses import roughened, scan_patches
from training.sources import TokenBatch

SHARE, MOST_S = 0.05, 450.0  # of a run's time; no more seconds than that
PER_BATCH, TOGETHER = 1024, 4  # tokens kept of each batch of pictures; how many of those are learned from in a step
LR, WARMUP_STEPS = 3e-3, 30
NORM = 6.0  # of what tokens are told of the pixels, beside 11 of a token's own vector


def teach_pixels(
    reader: PixelReader,
    transformer: Transformer,
    tokenizer: Tokenizer,
    draw: Callable[[], TokenBatch],
    settings: RunSettings,
    noise: float,
    seed: int,
) -> float:
    """Teach what the transformer's reader tells of pixels to be near the output vector of the token that they are of.

    For SHARE of the run's time, or as many steps as the run has. draw: gives batches with sketches.  noise: most levels
    on their codes (roughened()).
    Returns the cross-entropy at the end, nats a token.
    """
    chooser, device = random.Random(seed), transformer.token.device
    probe = nn.Linear(transformer.config.width, transformer.codebook_size).to(device)
    with torch.no_grad():
        reader.of_pixels.weight.normal_(std=0.02)
        probe.weight.copy_(transformer.head_table() * transformer.norm.weight)
        probe.bias.zero_()
    taught = [*reader.seen.parameters(), *reader.of_pixels.parameters(), *probe.parameters()]
    optimizer = torch.optim.AdamW(taught, LR, weight_decay=0.0)
    kept: list[tuple[Tensor, Tensor]] = []
    budget_s, begun_s, shown = min(SHARE * settings.hours * 3600, MOST_S), settings.clock(), 0.0
    with tqdm(total=round(budget_s), unit="s", desc="what sketches show", dynamic_ncols=True, delay=1) as bar:
        while (done := _progress(settings, budget_s, settings.clock() - begun_s, len(kept))) < 1:
            kept.append(_colours_and_tokens(reader, transformer, tokenizer, draw(), noise))
            colours, tokens = (torch.cat(of_each) for of_each in zip(*chooser.choices(kept, k=TOGETHER), strict=True))
            for group in optimizer.param_groups:
                group["lr"] = LR * min(1, len(kept) / WARMUP_STEPS) * (1 - done)
            with autocast(device):
                loss = F.cross_entropy(probe(reader.tell(colours.float())).float(), tokens)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()  # at once: the transformer's first step is not to find any
            shown = float(loss.detach()) if len(kept) == 1 else 0.9 * shown + 0.1 * float(loss.detach())
            bar.n = round(done * budget_s)
            bar.set_postfix(step=len(kept), nats=f"{shown:.3f}")
    if kept:
        with torch.no_grad():
            colours = torch.cat([colours for colours, _ in kept[-TOGETHER:]]).float()
            reader.of_pixels.weight.mul_(NORM / reader.tell(colours).norm(dim=-1).mean())
    return shown


def begun_with(initial: dict[str, Tensor], own: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights to begin with: of `initial` what a model with `own` has, but for a reader that looks at pixels
    otherwise, which is taught anew.
    """
    kept = {name: value for name, value in initial.items() if name in own}
    reader = {name for name in kept if name.startswith(("sketch.seen.", "sketch.of_pixels."))}
    if any(kept[name].shape != own[name].shape for name in reader):
        kept = {name: value for name, value in kept.items() if name not in reader}
    return own | kept


def _progress(settings: RunSettings, budget_s: float, spent_s: float, steps: int) -> float:
    return max(spent_s / budget_s if budget_s else 1.0, steps / settings.max_steps if settings.max_steps else 0.0)


@torch.no_grad()
def _colours_and_tokens(
    reader: PixelReader, transformer: Transformer, tokenizer: Tokenizer, batch: TokenBatch, noise: float
) -> tuple[Tensor, Tensor]:
    """Of some tokens of a batch's first frames: the colours around them, and the tokens."""
    assert batch.sketches is not None
    pixels = tokenizer.decode(roughened(batch.sketches, tokenizer.quantizer, noise).followed)
    order = transformer.config.orders[0]
    patches = scan_patches(batch.tokens[:, :1], batch.rows, batch.columns, transformer, order)
    place = batch.place[:, : patches.shape[1]]
    colours = reader.colours(pixels, place, transformer.scans[order].steps).flatten(0, 2)
    some = torch.randperm(len(colours))[:PER_BATCH].to(colours.device)
    return colours[some].half(), patches.flatten()[some]
