"""Pictures from tokens from text: decode_patch draws one patch token by token, generate a whole canvas patch by patch.

The ladder, from the bottom: sampling.draw (a token) -> PatchDecoder.decode (patches, all tokens) -> generate (a
canvas). This file knows no Redis, HTTP or files. The worker's engine drives the same PatchDecoder, many jobs at a
time.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from canvas.grid import Extent, Grid, Patch
from canvas.order import ORDERS, Order, ready
from model.config import ModelConfig
from model.context_pool import NearbyContextPool
from model.sampling import Sampling, SamplingRows, draw, guide, patch_noise
from model.text import WordPieces
from model.tokenizer import Tokenizer
from model.transformer import Transformer, attend


@dataclass
class Model:
    """Everything a folder of weights holds, ready to use. `version` is a hash of it."""

    config: ModelConfig
    tokenizer: Tokenizer
    transformer: Transformer
    words: WordPieces
    version: str

    @property
    def device(self) -> torch.device:
        return self.transformer.token.device


@dataclass
class Canvas:
    """One picture in the making: what is asked, and the tokens so far."""

    key: str  # unlike that of every other canvas in the same pool
    grid: Grid
    order: Order
    seed: int
    sampling: Sampling
    prompt: Tensor  # [2, D]: the whole prompt, and no prompt
    text_keys: Tensor  # [L, 2, H, S, d]: of the words of both
    text_values: Tensor
    text_mask: Tensor  # [2, S] bool
    tokens: Tensor  # [F, rows * m, columns * m] int64, row by row
    done: set[Patch] = field(default_factory=set)

    @property
    def branches(self) -> int:
        """Pages that a patch takes: with the prompt, and without it when guidance asks for both."""
        return 1 if self.sampling.cfg_scale == 1 else 2

    def place(self, patch: Patch) -> list[float]:
        rows, columns = self.grid.rows, self.grid.columns
        return [patch.row / rows, (patch.row + 1) / rows, patch.column / columns, (patch.column + 1) / columns]


@dataclass(frozen=True)
class GeneratedPatch:
    """A finished patch of generate(): its place, its tokens [M] row by row, and how many are done."""

    patch: Patch
    tokens: Tensor
    done: int
    total: int


class PatchDecoder:
    """Decodes patches of any canvases together, always in one batch shape, so that batch mates change nothing.

    slots: patches per batch. Each has two rows, with its prompt and with none, for classifier-free guidance.
    """

    def __init__(self, model: Model, slots: int = 4, pages: int = 512) -> None:
        self.model = model
        self.slots = slots
        self.config = model.config.transformer
        self.extent = Extent(*self.config.extent)
        self.pool = NearbyContextPool(self.config, pages, model.device)

    @torch.inference_mode()
    def start(self, key: str, grid: Grid, order: str, prompt: str | None, sampling: Sampling, seed: int) -> Canvas:
        """Lay out a canvas: the prompt's keys and values for every layer, and no tokens yet."""
        model, m = self.model, self.config.patch_tokens
        text, mask = model.transformer.text(model.words([prompt, None]).to(model.device))
        pairs = [layer.text_memory(text) for layer in model.transformer.layers]
        return Canvas(
            key=key,
            grid=grid,
            order=ORDERS[order],
            seed=seed,
            sampling=sampling if prompt is not None else Sampling(**{**vars(sampling), "cfg_scale": 1.0}),
            prompt=text[:, 0],
            text_keys=torch.stack([k for k, _ in pairs]),
            text_values=torch.stack([v for _, v in pairs]),
            text_mask=mask,
            tokens=torch.zeros(grid.frames, grid.rows * m, grid.columns * m, dtype=torch.long, device=model.device),
        )

    @torch.inference_mode()
    def decode(self, batch: Sequence[tuple[Canvas, Patch]]) -> list[Tensor]:
        """Draw the M tokens of each patch, one after another (the inner autoregression), and add their states to the
        pool.

        batch: at most `slots` patches whose nearby patches are in the pool. Returns tokens [M] int64 of each, row by
        row.
        Source: paper.md 1.2, p(P_i | C_i, y) = prod_j p(t_ij | t_i<j, C_i, y).
        """
        transformer, m = self.model.transformer, self.config.tokens_per_patch
        slots = self._fill(batch)
        context = self._context(slots)
        orders, device = context.orders, self.model.device
        targets = torch.stack([transformer.scans[o].target_angles for o in orders])[:, None]
        owns = torch.stack([transformer.scans[o].own_angles for o in orders])[:, None]
        noise = torch.stack([patch_noise(c.seed, *p, m) for c, p in slots]).to(device)
        params = SamplingRows([canvas.sampling for canvas, _ in slots], device)
        # One buffer of keys and values: text, nearby patches, own tokens. One layout, whatever is filled.
        start = context.mask.shape[1]
        shape = (*context.keys.shape[:3], start + m, context.keys.shape[4])
        keys, values = context.keys.new_zeros(shape), context.values.new_zeros(shape)
        keys[:, :, :, :start], values[:, :, :, :start] = context.keys, context.values
        mask = torch.cat([context.mask, torch.zeros(len(orders), m, dtype=torch.bool, device=device)], 1)
        drawn = torch.zeros(self.slots, m, dtype=torch.long, device=device)
        vectors, head = transformer.token_table(), transformer.head_table()
        for step in range(m):
            if step == 0:
                x = transformer.begin.expand(len(orders), 1, -1)
            else:
                x = vectors[drawn[:, step - 1]].repeat_interleave(2, 0)[:, None]
            x = x + context.conditions[:, step, None]
            mask[:, start + step] = True
            for number, layer in enumerate(transformer.layers):
                angles = slice(step, step + 1)
                q, k, v = layer.project(x, targets[:, :, angles], owns[:, :, angles])
                keys[number, :, :, start + step] = k[:, :, 0]
                values[number, :, :, start + step] = v[:, :, 0]
                x = layer.finish(x, attend(q, keys[number], values[number], mask[:, None, None]))
            logits = transformer.logits(x[:, 0], head).view(self.slots, 2, -1)
            guided = guide(logits[:, 0], logits[:, 1], params.cfg_scale)
            drawn[:, step] = draw(guided, noise[:, step], params)
        self._add(batch, drawn, context)
        rasters = [drawn[i, transformer.scans[c.order.name].to_raster] for i, (c, _) in enumerate(batch)]
        for (canvas, patch), tokens in zip(batch, rasters, strict=True):
            self._record(canvas, patch, tokens)
        return rasters

    @torch.inference_mode()
    def prefill(self, batch: Sequence[tuple[Canvas, Patch, Tensor]]) -> None:
        """Put patches with known tokens ([M], row by row) into the pool: the same states that decode() leaves there."""
        slots = self._fill([(canvas, patch) for canvas, patch, _ in batch])
        scans = self.model.transformer.scans
        known = torch.zeros(self.slots, self.config.tokens_per_patch, dtype=torch.long, device=self.model.device)
        for i, (canvas, _, tokens) in enumerate(batch):
            scan = scans[canvas.order.name]
            known[i, scan.to_raster] = tokens.to(known.device)
        self._add([(c, p) for c, p, _ in batch], known, self._context(slots))
        for canvas, patch, tokens in batch:
            self._record(canvas, patch, tokens)

    def remove(self, canvas: Canvas, patch: Patch) -> None:
        """Forget the states of a patch; unknown ones are ignored (a patch that nothing looks at later)."""
        for row in range(canvas.branches):
            if (key := (canvas.key, patch, row)) in self.pool:
                self.pool.remove(key)

    @torch.inference_mode()
    def render(self, canvas: Canvas, patch: Patch, refined: bool) -> Tensor:
        """Pixels of one patch, [3, px, px] in [-1, 1], from its tokens and a halo of those around it.

        refined False: the halo holds nearby patches of lower rank only, so the pixels do not depend on what else is
        done. refined True: it holds all patches that touch this one; those of the finished picture.
        """
        m, halo = self.config.patch_tokens, self.model.config.tokenizer.halo
        grid, px = canvas.grid, self.model.config.patch_px
        around = canvas.order.nearby(grid, Extent(0, 1, 1), patch)
        if refined:
            around = tuple(p for p in touching(grid, patch))
        # Three by three patches, then the halo cut out of them: one shape at every place, edges included.
        window = torch.zeros(3 * m, 3 * m, dtype=torch.long, device=canvas.tokens.device)
        known = torch.zeros(3 * m, 3 * m, dtype=torch.bool, device=canvas.tokens.device)
        for other in (patch, *around):
            top, left = (other.row - patch.row + 1) * m, (other.column - patch.column + 1) * m
            window[top : top + m, left : left + m] = self._region(canvas, other)
            known[top : top + m, left : left + m] = True
        cut = slice(m - halo, 2 * m + halo)
        pixels = self.model.tokenizer.decode(window[None, cut, cut], known[None, cut, cut])[0]
        edge = halo * self.model.config.tokenizer.factor
        return pixels[:, edge : edge + px, edge : edge + px]

    def _region(self, canvas: Canvas, patch: Patch) -> Tensor:
        m = self.config.patch_tokens
        return canvas.tokens[
            patch.frame, patch.row * m : (patch.row + 1) * m, patch.column * m : (patch.column + 1) * m
        ]

    def _record(self, canvas: Canvas, patch: Patch, tokens: Tensor) -> None:
        m = self.config.patch_tokens
        self._region(canvas, patch).copy_(tokens.view(m, m))
        canvas.done.add(patch)

    def _fill(self, batch: Sequence[tuple[Canvas, Patch]]) -> list[tuple[Canvas, Patch]]:
        """Pad to `slots` by repeating the first patch: its copies are computed and thrown away."""
        if not 1 <= len(batch) <= self.slots:
            raise ValueError(f"a batch holds 1 to {self.slots} patches, got {len(batch)}")
        return [*batch, *[batch[0]] * (self.slots - len(batch))]

    def _context(self, slots: Sequence[tuple[Canvas, Patch]]) -> "_Context":
        """What every row is told and looks at: two rows a slot, with its prompt and with none."""
        transformer, device = self.model.transformer, self.model.device
        orders = [canvas.order.name for canvas, _ in slots for _ in range(2)]
        places = torch.tensor([canvas.place(patch) for canvas, patch in slots for _ in range(2)], device=device)
        prompts = torch.cat([canvas.prompt for canvas, _ in slots])
        told = [
            transformer.conditions(order, place[None], prompt[None])
            for order, place, prompt in zip(orders, places, prompts, strict=True)
        ]
        contexts = []
        for canvas, patch in slots:
            nearby = canvas.order.nearby(canvas.grid, self.extent, patch)
            for row in range(2):
                seen = nearby if row < canvas.branches else ()
                contexts.append(
                    [
                        ((canvas.key, p, row), (p.frame - patch.frame, p.row - patch.row, p.column - patch.column))
                        for p in seen
                    ]
                )
        keys, values, mask = self.pool.select(contexts, self.extent.max_nearby)
        text_keys = torch.cat([canvas.text_keys for canvas, _ in slots], 1)
        text_values = torch.cat([canvas.text_values for canvas, _ in slots], 1)
        text_mask = torch.cat([canvas.text_mask for canvas, _ in slots])
        return _Context(
            orders,
            torch.cat(told),
            torch.cat([text_keys, keys], 3),
            torch.cat([text_values, values], 3),
            torch.cat([text_mask, mask], 1),
        )

    def _add(self, batch: Sequence[tuple[Canvas, Patch]], tokens: Tensor, context: "_Context") -> None:
        """The canonical states of finished patches: one teacher-forced pass. tokens [slots, M] in scan order."""
        x = self.model.transformer.embed(tokens.repeat_interleave(2, 0), context.conditions)
        _, keys, values = self.model.transformer.patch_pass(
            x, context.orders, lambda n, k, v: (context.keys[n], context.values[n]), context.mask
        )
        self.pool.require(sum(canvas.branches for canvas, _ in batch))  # all of the batch or nothing
        for slot, (canvas, patch) in enumerate(batch):
            for row in range(canvas.branches):
                self.pool.add((canvas.key, patch, row), keys[:, 2 * slot + row], values[:, 2 * slot + row])


@dataclass(frozen=True)
class _Context:
    """All that R rows are given beside their own tokens."""

    orders: list[str]  # R names
    conditions: Tensor  # [R, M + 1, D]
    keys: Tensor  # [L, R, H, C, d] of words and nearby patches
    values: Tensor
    mask: Tensor  # [R, C] bool


def touching(grid: Grid, patch: Patch) -> list[Patch]:
    """The up to eight patches of the same frame that share a side or a corner with this one."""
    around = [
        Patch(patch.frame, patch.row + down, patch.column + right)
        for down in (-1, 0, 1)
        for right in (-1, 0, 1)
        if (down, right) != (0, 0)
    ]
    return [p for p in around if p in grid]


def generate(
    decoder: PatchDecoder, grid: Grid, order: str, prompt: str | None, sampling: Sampling, seed: int
) -> Iterator[GeneratedPatch]:
    """Yield the patches of one canvas as they finish, those of a wavefront together (the outer autoregression).

    Source: paper.md 1.2, p(x | y) = prod_i p(P_i | C_i, y); 4.2, inference.
    """
    canvas = decoder.start(f"generate-{seed}", grid, order, prompt, sampling, seed)
    yield from continue_canvas(decoder, canvas)


def continue_canvas(decoder: PatchDecoder, canvas: Canvas) -> Iterator[GeneratedPatch]:
    """The patches that are still missing, as generate() makes them; the pool must hold what they look at."""
    grid, order = canvas.grid, canvas.order
    waiting = {p: len(order.dependants(grid, decoder.extent, p)) for p in grid}
    while todo := ready(grid, order, decoder.extent, canvas.done):
        batch = todo[: decoder.slots]
        for patch, tokens in zip(batch, decoder.decode([(canvas, p) for p in batch]), strict=True):
            yield GeneratedPatch(patch, tokens, len(canvas.done), len(grid))
        for patch in batch:
            for nearby in order.nearby(grid, decoder.extent, patch):
                waiting[nearby] -= 1
                if waiting[nearby] == 0:
                    decoder.remove(canvas, nearby)
            if waiting[patch] == 0:
                decoder.remove(canvas, patch)
