"""Canvas: one picture or film in the making."""

import threading
from dataclasses import dataclass, field

from torch import Tensor

from canvas.grid import Grid, Patch
from canvas.order import Order
from canvas.plan import Plan
from model.context_pool import Offset
from model.known import KnownPixels
from model.native.step import Words
from model.sampling import Sampling
from model.sketch import Outline, SketchView


@dataclass
class Canvas:
    """One picture in the making: what is asked, and the tokens so far.

    Pixels may be painted in another thread than tokens are drawn in. Of what changes in a canvas the two share `tokens`
    and `done`, and reach them through put(), get() and forget() alone: one at a time, and get() gives a copy.
    """

    key: str  # unlike that of every other canvas in the same pool
    plan: Plan
    seed: int
    sampling: Sampling  # cfg_scale 1 where one pass is enough
    prompt: Tensor  # [2, D]: the whole prompt, and no prompt
    text_keys: Tensor  # [L, 2, H, S, d]: of the words of both
    text_values: Tensor
    text_mask: Tensor  # [2, S] bool
    words: list[Words]  # the same of both as native code reads it; empty where there is none
    tokens: Tensor  # [F, rows * m, columns * m] int64, row by row
    known: KnownPixels | None = None
    outline: Outline | None = None  # its sketch and last draft; None where there is none
    sketch_view: SketchView | None = None  # of these: what patches are told of
    one_pass: float = 1.0  # guidance in one pass by this sketch
    said: Tensor | None = None  # [1] float64, takes log p(tokens | prompt) / p(tokens) of guided ones, in nats
    beside: Tensor | None = None  # [1, M, D], told to its patches: of which canvas this is a sketch or draft
    followed: Tensor | None = None  # of a draft: pixels of the sketch or draft before it, [1, 3, h, w] in [-1, 1]
    phase: int = 0  # of the plan, counted from 0
    done: set[Patch] = field(default_factory=set)
    _sharing: threading.Lock = field(default_factory=threading.Lock)

    def put(self, patch: Patch, tokens: Tensor) -> None:
        """The patch exists from now on, with these tokens [M], row by row; whoever puts it again puts the same."""
        with self._sharing:
            region = self._region(patch)
            region.copy_(tokens.view(region.shape))
            self.done.add(patch)

    def get(self, patch: Patch) -> Tensor | None:
        """The tokens [M] of a patch, row by row; None where it does not exist (any more)."""
        with self._sharing:
            return self._region(patch).flatten().clone() if patch in self.done else None

    def forget(self, frame: int) -> None:
        """Nobody will ask for that frame's tokens."""
        with self._sharing:
            self.done = {patch for patch in self.done if patch.frame != frame}

    def _region(self, patch: Patch) -> Tensor:
        m = self.tokens.shape[1] // self.grid.rows
        return self.tokens[patch.frame, patch.row * m : (patch.row + 1) * m, patch.column * m : (patch.column + 1) * m]

    @property
    def grid(self) -> Grid:
        return self.plan.grid

    @property
    def order(self) -> Order:
        return self.plan.phases[self.phase].order

    def nearby(self, patch: Patch) -> tuple[Patch, ...]:
        """Select: what a patch looks at in the current phase."""
        return self.plan.nearby(self.plan.phases[self.phase], patch)

    def branches(self, patch: Patch) -> int:
        """Pages that it takes."""
        return self.sampling.at(patch.frame).branches

    def context(self, patch: Patch, row: int) -> list[tuple[tuple[str, Patch, int], Offset]]:
        """The pool's keys of what one row of a patch looks at, and how far away that is."""
        return [
            ((self.key, p, row), (p.frame - patch.frame, p.row - patch.row, p.column - patch.column))
            for p in self.nearby(patch)
        ]

    def place(self, patch: Patch) -> list[float]:
        rows, columns = self.grid.rows, self.grid.columns
        return [patch.row / rows, (patch.row + 1) / rows, patch.column / columns, (patch.column + 1) / columns]
