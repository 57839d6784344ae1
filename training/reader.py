"""Teaches a new reader what the pixels of a sketch or draft tell, before a transformer learns with it.

A transformer that already draws well hardly listens to what is new: what its neighbours tell costs it nothing to use.
But the pixels around a token tell a good deal of which token it is, and that much is learned in minutes, alone.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

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
PER_BATCH, TOGETHER = 16, 4  # patches kept of each batch of pictures; those of how many are learned from in a step
STEPS_PER_BATCH = 3  # learning takes less time than drawing what is learned from
LR, WARMUP_STEPS = 3e-3, 30
OF_PIXELS = tuple(f"{reader}.{part}." for reader in ("sketch", "draft") for part in ("seen", "of_pixels", "surroundings"))
NORM = 6.0  # of what tokens are told of the pixels, beside 11 of a token's own vector


@dataclass(frozen=True)
class _Seen:
    """What a reader sees of P patches, as PixelReader.tell() takes it, and the tokens [P, M] that are there."""

    colours: Tensor
    looks: Tensor | None
    tokens: Tensor


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

    For SHARE of the run's time, or as many steps as the run has. A reader of which only the surroundings are new keeps
    the rest: the transformer has learned to listen to it.
    draw: gives batches with sketches.  noise: most levels on their codes (roughened()).
    Returns the cross-entropy at the end, nats a token.
    """
    chooser, device = random.Random(seed), transformer.token.device
    steps = transformer.scans[transformer.config.orders[0]].steps
    probe = nn.Linear(transformer.config.width, transformer.codebook_size).to(device)
    anew = not reader.of_pixels.weight.any()
    taught = list(probe.parameters())
    with torch.no_grad():
        probe.weight.copy_(transformer.head_table() * transformer.norm.weight)
        probe.bias.zero_()
        if anew:
            reader.of_pixels.weight.normal_(std=0.02)
            taught += [*reader.seen.parameters(), *reader.of_pixels.parameters()]
        if reader.surroundings is not None:
            reader.surroundings.out.weight.normal_(std=0.02)
            taught += reader.surroundings.parameters()
    optimizer = torch.optim.AdamW(taught, LR, weight_decay=0.0)
    kept: list[_Seen] = []
    budget_s, begun_s = min(SHARE * settings.hours * 3600, MOST_S), settings.clock()
    step, shown = 0, 0.0
    with tqdm(total=round(budget_s), unit="s", desc="what sketches show", dynamic_ncols=True, delay=1) as bar:
        while (done := _progress(settings, budget_s, settings.clock() - begun_s, step)) < 1:
            if step % STEPS_PER_BATCH == 0:
                kept.append(_see(reader, transformer, tokenizer, draw(), noise))
            seen = _together(chooser.choices(kept, k=TOGETHER))
            for group in optimizer.param_groups:
                group["lr"] = LR * min(1, (step + 1) / WARMUP_STEPS) * (1 - done)
            with autocast(device):
                loss = F.cross_entropy(probe(_tell(reader, seen, steps)).float().flatten(0, 1), seen.tokens.flatten())
            loss.backward()
            optimizer.step()
            transformer.zero_grad()  # at once: its first step is not to find any
            probe.zero_grad()
            step += 1
            shown = float(loss.detach()) if step == 1 else 0.95 * shown + 0.05 * float(loss.detach())
            bar.n = round(done * budget_s)
            bar.set_postfix(step=step, nats=f"{shown:.3f}")
    if kept and anew:
        with torch.no_grad():
            told = _tell(reader, _together(kept[-TOGETHER:]), steps)
            reader.of_pixels.weight.mul_(NORM / told.norm(dim=-1).mean())
    return shown


def begun_with(initial: dict[str, Tensor], own: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights to begin with: of `initial` what a model with `own` has, but for a reader that looks at pixels
    otherwise, which is taught anew.
    """
    kept = {name: value for name, value in initial.items() if name in own}
    reader = {name for name in kept if name.startswith(OF_PIXELS)}
    if any(kept[name].shape != own[name].shape for name in reader):
        kept = {name: value for name, value in kept.items() if name not in reader}
    return own | kept


def _progress(settings: RunSettings, budget_s: float, spent_s: float, steps: int) -> float:
    return max(spent_s / budget_s if budget_s else 1.0, steps / settings.max_steps if settings.max_steps else 0.0)


@torch.no_grad()
def _see(reader: PixelReader, transformer: Transformer, tokenizer: Tokenizer, batch: TokenBatch, noise: float) -> _Seen:
    """What is seen of some patches of a batch's first frames, in 16 bits."""
    assert batch.sketches is not None
    pixels = tokenizer.decode(roughened(batch.sketches, tokenizer.quantizer, noise).followed)
    order = transformer.config.orders[0]
    patches = scan_patches(batch.tokens[:, :1], batch.rows, batch.columns, transformer, order)
    place = batch.place[:, : patches.shape[1]]
    some = torch.randperm(patches.shape[0] * patches.shape[1])[:PER_BATCH].to(patches.device)
    colours = reader.colours(pixels, place, transformer.scans[order].steps)
    looks = None if reader.surroundings is None else reader.looks(pixels, place).flatten(0, 1)[some].half()
    return _Seen(colours.flatten(0, 1)[some].half(), looks, patches.flatten(0, 1)[some])


def _together(parts: Sequence[_Seen]) -> _Seen:
    looks = [part.looks for part in parts if part.looks is not None]
    return _Seen(
        torch.cat([part.colours for part in parts]),
        torch.cat(looks) if looks else None,
        torch.cat([part.tokens for part in parts]),
    )


def _tell(reader: PixelReader, seen: _Seen, steps: Tensor) -> Tensor:
    """What the patches are told, [P, M, D]."""
    looks = None if seen.looks is None else seen.looks.float()
    return reader.tell(seen.colours.float(), looks, steps)
