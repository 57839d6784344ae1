"""Classifier-free guidance in one pass: what it is told beside the prompt, so that it draws as two that are compared.

All of it is input: the weights that every pass goes through are the same, so drawing with two passes stays as it is,
and patches of both kinds share a batch. Taught by training/guidance.py.
Source: Meng et al., "On Distillation of Guided Diffusion Models" (2023), and, for teaching by inputs alone, Li and
Liang, "Prefix-Tuning" (2021).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from model.config import TransformerConfig

PREFIX = 8  # states that stand beside those of the words


@dataclass(frozen=True)
class Told:
    """What the patches of a canvas are told by its prompt: R rows, S words."""

    words: list[Tensor]  # for each layer [R, S, D]
    mask: Tensor  # [R, S] bool
    prompt: Tensor  # [R, D], of the prompt as a whole


class DistilledGuidance(nn.Module):
    """What is added to a prompt's states, in the measure of the scale: nothing at 1, all of it at distilled_scale."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.most = config.distilled_scale
        self.always = nn.Parameter(torch.zeros(config.width))
        self.prompt = nn.Linear(config.width, config.width, bias=False)
        self.words = nn.ModuleList(nn.Linear(config.width, config.width, bias=False) for _ in range(config.depth))
        self.prefix = nn.Parameter(torch.randn(config.depth, PREFIX, config.width) * 0.02)
        maps = [self.prompt, *self.words]
        if config.sketch:
            self.sketch = nn.Linear(config.width, config.width, bias=False)
            maps.append(self.sketch)
        for linear in maps:
            nn.init.zeros_(linear.weight)

    def forward(self, words: Tensor, mask: Tensor, prompt: Tensor, scale: float) -> Told:
        """words [R, S, D] and their mask [R, S] from the text encoder, prompt [R, D]: with the guidance of this scale
        in them.
        """
        share, rows = self._share(scale), len(words)
        return Told(
            [
                torch.cat([words + share * linear(words), prefix.expand(rows, -1, -1) * share], 1)
                for linear, prefix in zip(self.words, self.prefix, strict=True)
            ],
            torch.cat([mask, mask.new_ones(rows, PREFIX)], 1),
            prompt + share * (self.always + self.prompt(words[:, 0])),
        )

    def sketched(self, told: Tensor, scale: float) -> Tensor:
        """What a sketch tells [..., D], with the guidance of this scale in it."""
        return told + self._share(scale) * self.sketch(told)

    def _share(self, scale: float) -> float:
        return (scale - 1) / (self.most - 1)
