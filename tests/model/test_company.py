"""One result per seed: tokens and states of a patch, bit for bit, whatever is drawn beside it, before it or again.

Of native code; PyTorch's, which is slower to try, is in test_generate.py.
"""

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from canvas.grid import Grid, Patch
from canvas.order import ORDERS, ready
from model.canvas import Canvas
from model.generate import Model, PatchDecoder
from model.sampling import Sampling

SLOTS = 4


class Alone:
    """Canvases by seed, and what they become when their patches are decoded one at a time, nothing else around."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self._known: dict[int, tuple[Tensor, Tensor]] = {}

    def decoder(self) -> PatchDecoder:
        try:
            return PatchDecoder(self.model, SLOTS, step="native")
        except ValueError as reason:
            pytest.skip(str(reason))

    def canvas(self, decoder: PatchDecoder, seed: int) -> Canvas:
        """Stills and films, all orders, with prompts of any length and without, with guidance in two passes, in one and
        without.
        """
        sampling = [
            Sampling(cfg_scale=2.0),
            Sampling(temperature=0.7, top_k=20),
            Sampling(temperature=0.0, cfg_scale=3.0),
            Sampling(temperature=1.3, top_p=0.8, cfg_scale=1.5),
            Sampling(cfg_scale=4.0, distilled=True),
        ][seed % 5]
        prompt = ["snowy mountains at sunset lake", "night forest", None][seed % 3]
        frames, rows, columns = [(1, 2, 2), (1, 1, 3), (2, 2, 2), (3, 1, 2)][seed // 2 % 4]
        grid = Grid(frames, rows, columns, self.model.config.patch_px)
        return decoder.start(f"job-{seed}", grid, list(ORDERS)[seed // 4 % 4], prompt, sampling, seed)

    def of(self, seed: int) -> tuple[Tensor, Tensor]:
        if seed not in self._known:
            decoder = self.decoder()
            canvas = self.canvas(decoder, seed)
            for patch in sequence(canvas):
                decoder.decode([(canvas, patch)])
            self._known[seed] = canvas.tokens, pages(decoder, canvas)
        return self._known[seed]


def sequence(canvas: Canvas) -> Sequence[Patch]:
    return list(canvas.order.sequence(canvas.grid))


def pages(decoder: PatchDecoder, canvas: Canvas) -> Tensor:
    """All states of a canvas in the pool."""
    keys = [(canvas.key, patch, row) for patch in canvas.grid for row in range(canvas.branches(patch))]
    return decoder.pool.storage[:, [decoder.pool.page(key) for key in keys]]


@pytest.fixture(scope="module")
def alone(model: Model) -> Alone:
    return Alone(model)


@settings(max_examples=15, deadline=None)  # any one row that depends on its mates fails at once
@given(seeds=st.lists(st.integers(0, 47), min_size=2, max_size=5, unique=True), data=st.data())
def test_native_patches_are_bit_identical_in_any_mix_and_order_of_arrival(
    alone: Alone, seeds: list[int], data: st.DataObject
) -> None:
    """Jobs arrive one after another, some with patches that an earlier worker drew; any ready patches are drawn
    together, in any order.
    """
    decoder = alone.decoder()
    waiting, running = list(seeds), dict[int, Canvas]()
    while waiting or any(len(c.done) < len(c.grid) for c in running.values()):
        open_patches = [
            (seed, patch)
            for seed, canvas in running.items()
            for patch in ready(canvas.grid, canvas.order, decoder.extent, canvas.done)
        ]
        if waiting and (not open_patches or data.draw(st.booleans(), label="arrives")):
            seed = waiting.pop()
            canvas = running[seed] = alone.canvas(decoder, seed)
            tokens, _ = alone.of(seed)
            for patch in sequence(canvas)[: data.draw(st.integers(0, 3), label="replayed")]:
                drawn = tokens[patch.frame].unflatten(0, (canvas.grid.rows, -1)).unflatten(2, (canvas.grid.columns, -1))
                decoder.prefill([(canvas, patch, drawn[patch.row, :, patch.column].flatten())])
            continue
        some = data.draw(st.permutations(open_patches), label="together")[: data.draw(st.integers(1, SLOTS))]
        decoder.decode([(running[seed], patch) for seed, patch in some])
    for seed, canvas in running.items():
        tokens, states = alone.of(seed)
        assert torch.equal(canvas.tokens, tokens)
        assert torch.equal(pages(decoder, canvas), states)
