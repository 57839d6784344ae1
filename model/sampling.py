"""Logits -> token: guidance, temperature, top-k, top-p, and noise that depends on (seed, patch, token) alone."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn. temperature 0 takes the likeliest; top_k 0, top_p 1 and min_p 0 keep all; cfg_scale 1 is no
    guidance. distilled: one pass that has learned what guidance comes to, instead of two.

    Of a film the first frame alone is guided: what a film shows is decided there, and guidance makes later ones drift
    away from it.

    min_p keeps tokens at least this many times as likely as the likeliest; later_min_p does in a film's frames after
    the first, if it is more. There most tokens are those of the frame before, of which the model is sure, and what is
    drawn from the rest flickers. Source: Nguyen et al., "Turning Up the Heat: Min-p Sampling" (2024).
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    later_min_p: float = 0.0
    cfg_scale: float = 1.0
    distilled: bool = False

    @property
    def branches(self) -> int:
        """Passes of the transformer for a token: with the prompt, and without it when guidance compares the two."""
        return 1 if self.cfg_scale == 1 or self.distilled else 2

    def at(self, frame: int) -> "Sampling":
        """What holds in this frame, by cfg_scale and min_p alone."""
        if frame == 0:
            return replace(self, later_min_p=0.0)
        return replace(self, cfg_scale=1.0, min_p=max(self.min_p, self.later_min_p), later_min_p=0.0)


def guide(conditional: Tensor, unconditional: Tensor, scale: Tensor) -> Tensor:
    """Classifier-free guidance, logits in, logits out; scale [R, 1], 1.0 = off. Source: Ho and Salimans (2021)."""
    return torch.where(scale == 1, conditional, unconditional + scale * (conditional - unconditional))


def draw(logits: Tensor, noise: Tensor, params: "SamplingRows") -> Tensor:
    """One token per row by inverse CDF: logits [R, V], noise [R] in [0, 1) -> tokens [R] int64."""
    greedy = params.temperature == 0
    scaled = logits.double() / torch.where(greedy, 1.0, params.temperature)
    ordered, tokens = scaled.sort(dim=-1, descending=True, stable=True)
    probs = ordered.softmax(-1)
    before = probs.cumsum(-1) - probs  # what likelier tokens hold together; the likeliest always stays
    rank = torch.arange(logits.shape[-1], device=logits.device)
    keep = (before < params.top_p) & ((params.top_k == 0) | (rank < params.top_k)) & (~greedy | (rank == 0))
    keep &= probs >= params.min_p * probs[..., :1]
    cdf = torch.where(keep, probs, 0.0).cumsum(-1)
    choice = (cdf <= noise[:, None] * cdf[:, -1:]).sum(-1)
    # rounding may point one past the last kept token; tokens are kept from the front
    return tokens.gather(-1, torch.minimum(choice, keep.sum(-1) - 1)[:, None]).squeeze(-1)


class SamplingRows:
    """The parameters of several rows side by side, each [R, 1]."""

    def __init__(self, rows: list[Sampling], device: torch.device) -> None:
        def column(values: list[float]) -> Tensor:
            return torch.tensor(values, dtype=torch.float64, device=device)[:, None]

        self.temperature = column([r.temperature for r in rows])
        self.top_k = column([r.top_k for r in rows])
        self.top_p = column([r.top_p for r in rows])
        self.min_p = column([r.min_p for r in rows])
        self.cfg_scale = column([r.cfg_scale for r in rows]).float()


def patch_noise(seed: int, frame: int, row: int, column: int, tokens: int) -> Tensor:
    """Uniform noise in [0, 1) for the tokens of one patch, [tokens] float64, from a counter-based generator (Philox).

    Keyed by the job's seed and the patch's place, so neither batching nor a takeover nor the canvas's size draws other
    numbers.
    """
    place = (frame << 42) | (row << 21) | column
    generator = np.random.Generator(np.random.Philox(key=np.array([seed, place], dtype=np.uint64)))
    return torch.from_numpy(generator.random(tokens))
