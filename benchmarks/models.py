"""What is measured: a model of the size that goals are stated for, and patches with everything around them in place."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from canvas.grid import Grid, Patch
from jobs.settings import WorkerSettings
from model.canvas import Canvas
from model.config import PRESETS, ModelConfig
from model.generate import Model, PatchDecoder
from model.loader import WORDS
from model.sampling import Sampling
from model.text import WordPieces
from model.tokenizer import Tokenizer
from model.transformer import Transformer

SHIPPED = Path(WorkerSettings.model_fields["weights"].default)
PROMPT = "snowy mountains at sunset with a lake"
DRAWN = Sampling(top_p=0.98)  # as pictures are drawn, but for guidance: one row a patch, as one sequence of a peer

# 1,000 codes and patches of 64 tokens, as the shipped weights; width and depth as the goals were stated for.
MEASURED = replace(
    PRESETS["tiny"],
    name="measured",
    transformer=replace(PRESETS["tiny"].transformer, width=384, depth=8, heads=6, sketch=False),
)
# Where many patches are needed and their number is what matters: a step of it is next to nothing.
LITTLE = replace(
    PRESETS["nano"],
    name="little",
    transformer=replace(
        PRESETS["tiny"].transformer,
        width=64,
        depth=2,
        heads=2,
        sentence_width=32,
        sentence_depth=1,
        sentence_heads=1,
        sketch=False,
    ),
)


def random_model(config: ModelConfig) -> Model:
    """Random weights, the same at each call; words as the shipped weights know them."""
    torch.manual_seed(0)
    tokenizer, transformer = Tokenizer(config.tokenizer), Transformer(config)
    with torch.no_grad():
        for part in (tokenizer, transformer):
            part.eval().requires_grad_(False)
            for weights in part.parameters():
                weights.add_(torch.randn_like(weights) * 0.02)  # away from the zeros that residual branches start with
    tokenizer.to(memory_format=torch.channels_last)
    return Model(config, tokenizer, transformer, WordPieces(SHIPPED / WORDS, config.transformer.text_tokens), "random")


@cache
def is_native() -> bool:
    """Whether this machine draws with native code."""
    try:
        PatchDecoder(random_model(PRESETS["nano"]), slots=1, pages=2, step="native")
    except ValueError:
        return False
    return True


class Desk:
    """Patches of different canvases, one of each, all of whose nearby patches exist: drawn as often as one likes.

    rows: how many; the decoder has a slot for each, or `slots`.
    """

    def __init__(
        self, model: Model, rows: int, step: str = "auto", sampling: Sampling = DRAWN, slots: int | None = None
    ) -> None:
        self.decoder = PatchDecoder(model, slots or rows, pages=6 * rows * sampling.branches, step=step)
        grid = Grid(frames=1, rows=2, columns=3, patch_px=model.config.patch_px)
        canvases = [self.decoder.start(f"job {n}", grid, "zeta", PROMPT, sampling, seed=n) for n in range(rows)]
        for patch in (Patch(0, 0, 0), Patch(0, 0, 1), Patch(0, 0, 2), Patch(0, 1, 0)):
            self.decoder.prefill([(canvas, patch, random_tokens(model, n)) for n, canvas in enumerate(canvases)])
        self.batch: list[tuple[Canvas, Patch]] = [(canvas, Patch(0, 1, 1)) for canvas in canvases]
        self.words = int(canvases[0].text_mask[0].sum())
        self.context = self.words + 4 * model.config.transformer.tokens_per_patch

    def draw(self) -> None:
        """One patch of every canvas, together."""
        self.decoder.decode(self.batch)
        self._forget()

    def prefill(self) -> None:
        """The same patches, their tokens known: only states are made."""
        known = [(canvas, patch, random_tokens(self.decoder.model, n)) for n, (canvas, patch) in enumerate(self.batch)]
        self.decoder.prefill(known)
        self._forget()

    def _forget(self) -> None:
        for canvas, patch in self.batch:
            self.decoder.remove(canvas, patch)


def random_tokens(model: Model, seed: int) -> Tensor:
    """Of one patch, [M]."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(
        model.transformer.codebook_size, (model.config.transformer.tokens_per_patch,), generator=generator
    )


def in_turn(sizes: Sequence[int]) -> Iterator[int]:
    """Which of several lines to advance next, so that all of them end together: each time the one furthest behind."""
    done = [0] * len(sizes)
    while any(d < size for d, size in zip(done, sizes, strict=True)):
        line = min(range(len(sizes)), key=lambda n: (done[n] / sizes[n], n))
        done[line] += 1
        yield line
