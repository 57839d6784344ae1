"""The train loop that tokenizer and transformer share: time budget, resume, progress bar, averaged weights, curve and
samples.

A run lives in a folder: last.pt (everything needed to go on), curve.png, samples/*.png, log.csv.
"""

import csv
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from tqdm import tqdm

from training.optimizer import build_optimizers

CHECKPOINT_EVERY_S = 120


@dataclass(frozen=True)
class RunSettings:
    """How long and how hard to train."""

    folder: Path
    hours: float = 0.5
    lr: float = 2e-3
    weight_decay: float = 0.01
    warmup_steps: int = 20
    decay_from: float = 0.6  # share of the budget after which the learning rate falls linearly to zero
    clip_norm: float = 1.0
    ema: float = 0.995
    sample_every: int = 200  # steps
    resume: bool = False
    max_steps: int | None = None


class Trainer:
    """Runs `loss(step)` until the budget is spent; `evaluate()` and `sample(path)` use the averaged weights."""

    def __init__(self, model: nn.Module, settings: RunSettings) -> None:
        self.model = model
        self.settings = settings
        self.optimizers = build_optimizers(model, settings.lr, settings.weight_decay)
        self.average = {k: v.detach().clone() for k, v in model.state_dict().items()}
        self.step = 0
        self.spent_s = 0.0
        self.history: list[dict[str, float]] = []
        settings.folder.mkdir(parents=True, exist_ok=True)
        if settings.resume and (settings.folder / "last.pt").exists():
            self._load()

    def run(
        self,
        loss: Callable[[int], tuple[Tensor, dict[str, float]]],
        evaluate: Callable[[], dict[str, float]] | None = None,
        sample: Callable[[Path], None] | None = None,
    ) -> dict[str, float]:
        """Train. loss(step) returns the scalar to minimise and figures to show; returns the last row of the history."""
        s = self.settings
        budget_s = s.hours * 3600
        bar = tqdm(total=round(budget_s), initial=round(self.spent_s), unit="s", dynamic_ncols=True, desc=s.folder.name)
        last_saved = time.monotonic()
        shown: dict[str, float] = {}
        while self.spent_s < budget_s and (s.max_steps is None or self.step < s.max_steps):
            started = time.monotonic()
            factor = self._set_learning_rate(self.spent_s / budget_s)
            value, figures = loss(self.step)
            if value.requires_grad:  # a loss that has taken its own optimiser steps returns a plain number
                self.update(value)
            figures = {"loss": float(value.detach()), **figures}
            shown = {k: 0.95 * shown.get(k, v) + 0.05 * v for k, v in figures.items()}
            self.step += 1
            self.spent_s += time.monotonic() - started
            bar.n = min(round(self.spent_s), round(budget_s))
            bar.set_postfix({"step": self.step, **{k: f"{v:.4g}" for k, v in shown.items()}}, refresh=False)
            bar.refresh()
            if self.step % 10 == 0:
                self.history.append({"step": self.step, "seconds": self.spent_s, "lr": s.lr * factor, **shown})
            if self.step % s.sample_every == 0:
                self._report(evaluate, sample)
            if time.monotonic() - last_saved > CHECKPOINT_EVERY_S:
                self.save()
                last_saved = time.monotonic()
        bar.close()
        self.history.append({"step": self.step, "seconds": self.spent_s, "lr": 0.0, **shown})
        self._report(evaluate, sample)
        self.save()
        return self.history[-1]

    def update(self, value: Tensor) -> None:
        """One optimiser step on a loss, and the average moves along."""
        value.backward()
        clip_grad_norm_(self.model.parameters(), self.settings.clip_norm)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        decay = min(self.settings.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, value_now in self.model.state_dict().items():
                if value_now.is_floating_point():
                    self.average[name].lerp_(value_now, 1 - decay)

    def averaged(self) -> dict[str, Tensor]:
        """The averaged weights: what is evaluated and shipped."""
        return self.average

    def save(self) -> None:
        state: dict[str, Any] = {
            "model": self.model.state_dict(),
            "average": self.average,
            "optimizers": [o.state_dict() for o in self.optimizers],
            "step": self.step,
            "spent_s": self.spent_s,
            "history": self.history,
        }
        path = self.settings.folder / "last.pt"
        torch.save(state, path.with_suffix(".tmp"))
        os.replace(path.with_suffix(".tmp"), path)

    def _load(self) -> None:
        device = next(self.model.parameters()).device
        state = torch.load(self.settings.folder / "last.pt", map_location=device, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.average = state["average"]
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step, self.spent_s, self.history = state["step"], state["spent_s"], state["history"]

    def _set_learning_rate(self, progress: float) -> float:
        s = self.settings
        warm = min(1.0, (self.step + 1) / s.warmup_steps)
        decay = 1.0 if progress < s.decay_from else max(0.0, (1 - progress) / (1 - s.decay_from))
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = s.lr * warm * decay
        return warm * decay

    def _report(self, evaluate: Callable[[], dict[str, float]] | None, sample: Callable[[Path], None] | None) -> None:
        """Evaluate and draw with the averaged weights, then go on with the others."""
        current = {k: v.clone() for k, v in self.model.state_dict().items()}
        self.model.load_state_dict(self.average)
        self.model.eval()
        with torch.no_grad():
            if evaluate is not None and self.history:
                self.history[-1].update(evaluate())
            if sample is not None:
                (self.settings.folder / "samples").mkdir(exist_ok=True)
                sample(self.settings.folder / "samples" / f"step-{self.step:06d}.png")
        self.model.train()
        self.model.load_state_dict(current)
        draw_curve(self.history, self.settings.folder / "curve.png")
        keys = sorted({k for row in self.history for k in row}, key=lambda k: (k != "step", k))
        with (self.settings.folder / "log.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, keys)
            writer.writeheader()
            writer.writerows(self.history)


def draw_curve(history: list[dict[str, float]], path: Path) -> None:
    """One small panel per figure, against hours: people would rather look than read."""
    keys = sorted({k for row in history for k in row} - {"step", "seconds", "lr"}, key=lambda k: (k != "loss", k))
    if not keys:
        return
    columns = min(3, len(keys))
    rows = math.ceil(len(keys) / columns)
    figure, axes = plt.subplots(rows, columns, figsize=(4 * columns, 2.6 * rows), squeeze=False)
    for axis in axes.flat:
        axis.set_visible(False)
    for axis, key in zip(axes.flat, keys, strict=False):
        points = [(row["seconds"] / 3600, row[key]) for row in history if key in row]
        axis.set_visible(True)
        axis.plot(*zip(*points, strict=True), linewidth=1.2, marker="." if len(points) < 60 else "")
        axis.set_title(key, fontsize=9)
        axis.set_xlabel("hours", fontsize=8)
        axis.tick_params(labelsize=7)
        axis.grid(alpha=0.25)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
