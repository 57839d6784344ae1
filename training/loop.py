"""The train loop that tokenizer and transformer share: time budget, resume, progress bar, averaged weights, curve and
samples.

A run lives in a folder: last.pt (everything needed to go on), curve.png, samples/*.png, log.csv. Several processes may
share a run (training/distributed.py).
"""

import csv
import math
import time
from collections import deque
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

from training.checkpoint import has_checkpoint, load_checkpoint, save_checkpoint
from training.distributed import agree, average_gradients, rank, share
from training.optimizer import build_optimizers

CHECKPOINT_EVERY_S = 120
FIRST_REPORT_AT = 0.1  # share of the budget


@dataclass(frozen=True)
class RunSettings:
    """How long and how hard to train."""

    folder: Path
    hours: float = 0.5  # of the clock, drawing pictures, evaluating and saving included
    lr: float = 2e-3
    weight_decay: float = 0.01
    warmup_steps: int = 20
    decay_from: float = 0.6  # share of the budget after which the learning rate falls linearly to zero
    clip_norm: float = 1.0
    ema: float = 0.995
    sample_every: int = 200  # steps
    resume: bool = False
    max_steps: int | None = None
    part_mb: float | None = None  # largest file of a checkpoint in MiB; None = one file
    clock: Callable[[], float] = time.monotonic  # seconds


class Trainer:
    """Runs `loss(step)` until the budget is spent; `evaluate()` and `sample(path)` use the averaged weights.

    Time counts from here on, added to that of the run's earlier parts.
    """

    def __init__(self, model: nn.Module, settings: RunSettings) -> None:
        self._clock = settings.clock
        self._started = self._clock()
        self._spent_before_s = 0.0
        self._steps_s: deque[float] = deque(maxlen=50)  # how long the latest steps took
        self._report_s: float | None = None  # how long the last one took, if there was one
        self._save_s = 0.0
        self.model = model
        self.device = next(model.parameters()).device
        self.settings = settings
        self.optimizers = build_optimizers(model, settings.lr, settings.weight_decay)
        self.step = 0
        self.history: list[dict[str, float]] = []
        settings.folder.mkdir(parents=True, exist_ok=True)
        self.begin_anew()
        if settings.resume and has_checkpoint(settings.folder):
            self._load()

    def begin_anew(self) -> None:
        """The model was changed before the first step: averages, and the other processes, begin with what it is now."""
        share(self.model.state_dict().values())
        self.average = {k: v.detach().clone() for k, v in self.model.state_dict().items()}

    @property
    def spent_s(self) -> float:
        """Seconds that the run has had."""
        return self._spent_before_s + self._clock() - self._started

    def run(
        self,
        loss: Callable[[int], tuple[Tensor, dict[str, float]]],
        evaluate: Callable[[], dict[str, float]] | None = None,
        sample: Callable[[Path], None] | None = None,
    ) -> dict[str, float]:
        """Train. loss(step) returns the scalar to minimise and figures to show; returns the last row of the history.

        Ends in time for the last report and the last checkpoint. Of several processes the first one's clock counts, its
        figures are shown, and it alone evaluates and writes.
        """
        s, first = self.settings, rank() == 0
        budget_s = s.hours * 3600
        begun_s = saved_s = self.spent_s
        bar = tqdm(
            total=round(budget_s),
            initial=round(self.spent_s),
            unit="s",
            dynamic_ncols=True,
            desc=s.folder.name,
            disable=not first,
        )
        shown: dict[str, float] = {}
        while s.max_steps is None or self.step < s.max_steps:
            progress = agree(self._progress(budget_s), self.device)
            if progress >= 1:
                break
            started = self._clock()
            rate = self._set_learning_rate(progress)
            value, figures = loss(self.step)
            if value.requires_grad:  # a loss that has taken its own optimiser steps returns a plain number
                self.update(value)
            figures = {"loss": float(value.detach()), **figures}
            shown |= {k: 0.95 * shown.get(k, v) + 0.05 * v for k, v in figures.items()}
            self.step += 1
            self._steps_s.append(self._clock() - started)
            if not first:
                continue
            bar.n = min(round(self.spent_s), round(budget_s))
            bar.set_postfix({"step": self.step, **{k: f"{v:.4g}" for k, v in shown.items()}}, refresh=False)
            bar.refresh()
            # The first report tells how long the last one will take, so it must come early.
            unmeasured = self._report_s is None and self.spent_s - begun_s > FIRST_REPORT_AT * budget_s
            report = self.step % s.sample_every == 0 or unmeasured
            if self.step % 10 == 0 or report:
                self.history.append({"step": self.step, "seconds": self.spent_s, "lr": rate, **shown})
            if report:
                self._report(evaluate, sample)
            if self.spent_s - saved_s > CHECKPOINT_EVERY_S:
                self.save()
                saved_s = self.spent_s
        bar.close()
        self.history.append({"step": self.step, "seconds": self.spent_s, "lr": 0.0, **shown})
        if first:
            self._report(evaluate, sample)
            self.save()
        return self.history[-1]

    def update(self, value: Tensor) -> None:
        """One optimiser step on a loss, and the average moves along."""
        value.backward()
        average_gradients(self.model.parameters())
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
        started = self._clock()
        state: dict[str, Any] = {
            "model": self.model.state_dict(),
            "average": self.average,
            "optimizers": [o.state_dict() for o in self.optimizers],
            "step": self.step,
            "spent_s": self.spent_s,
            "report_s": self._report_s,
            "history": self.history,
        }
        save_checkpoint(self.settings.folder, state, self.settings.part_mb)
        self._save_s = self._clock() - started

    def _load(self) -> None:
        state = load_checkpoint(self.settings.folder, self.device)
        self.model.load_state_dict(state["model"])
        self.average = state["average"]
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step, self._spent_before_s, self.history = state["step"], state["spent_s"], state["history"]
        self._report_s = state.get("report_s")  # runs begun before it was measured lack it

    def _progress(self, budget_s: float) -> float:
        """Share of the time for steps that is spent; 1 or more when no further step fits beside report and saving."""
        usable_s = budget_s - (self._report_s or 0.0) - 2 * self._save_s - max(self._steps_s, default=0.0)
        return self.spent_s / usable_s if usable_s > 0 else 1.0

    def _set_learning_rate(self, progress: float) -> float:
        """Warm-up, then constant, then linearly to zero. Returns the rate."""
        s = self.settings
        warm = min(1.0, (self.step + 1) / s.warmup_steps)
        decay = 1.0 if progress < s.decay_from else max(0.0, (1 - progress) / (1 - s.decay_from))
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = s.lr * warm * decay
        return s.lr * warm * decay

    def _report(self, evaluate: Callable[[], dict[str, float]] | None, sample: Callable[[Path], None] | None) -> None:
        """Evaluate and draw with the averaged weights, then go on with the others."""
        started = self._clock()
        current = {k: v.clone() for k, v in self.model.state_dict().items()}
        self.model.load_state_dict(self.average)
        self.model.eval()
        with torch.no_grad():
            if evaluate is not None:
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
        self._report_s = self._clock() - started


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
