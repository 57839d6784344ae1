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
from canvas.plan import Plan, compile_plan
from model.config import ModelConfig
from model.context_pool import NearbyContextPool
from model.known import REACH, KnownPixels, grown, known_tokens, meet, window
from model.native.step import choose
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
    plan: Plan
    seed: int
    sampling: Sampling
    prompt: Tensor  # [2, D]: the whole prompt, and no prompt
    text_keys: Tensor  # [L, 2, H, S, d]: of the words of both
    text_values: Tensor
    text_mask: Tensor  # [2, S] bool
    tokens: Tensor  # [F, rows * m, columns * m] int64, row by row
    known: KnownPixels | None = None
    phase: int = 0  # of the plan, counted from 0
    done: set[Patch] = field(default_factory=set)

    @property
    def grid(self) -> Grid:
        return self.plan.grid

    @property
    def order(self) -> Order:
        return self.plan.phases[self.phase].order

    def nearby(self, patch: Patch) -> tuple[Patch, ...]:
        """Select: what a patch looks at in the current phase."""
        return self.plan.nearby(self.plan.phases[self.phase], patch)

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
    """Decodes patches of any canvases together; batch mates change nothing (in PyTorch thanks to one batch shape).

    slots: patches per batch. Each has two rows, with its prompt and with none, for classifier-free guidance.
    step: what draws the tokens, "native" code for CPUs, "torch", or "auto": native where it can be had. The two agree
    to rounding (native stores 16 bits), so a token at a near tie may differ between them.
    Raises ValueError when step is "native" and it cannot be had.
    """

    def __init__(self, model: Model, slots: int = 4, pages: int = 512, step: str = "auto") -> None:
        self.model = model
        self.slots = slots
        self.config = model.config.transformer
        self.extent = Extent(*self.config.extent)
        self.pool = NearbyContextPool(self.config, pages, model.device)
        self._native = choose(step, model.transformer)

    def start(self, key: str, grid: Grid, order: str, prompt: str | None, sampling: Sampling, seed: int) -> Canvas:
        """Lay out a canvas that is drawn whole, in one order."""
        return self.start_plan(key, compile_plan(grid, ORDERS[order], self.extent), prompt, sampling, seed)

    @torch.inference_mode()
    def start_plan(
        self,
        key: str,
        plan: Plan,
        prompt: str | None,
        sampling: Sampling,
        seed: int,
        known: KnownPixels | None = None,
    ) -> Canvas:
        """Lay out a canvas: the prompt's keys and values for every layer, and no tokens yet.

        known: the pixels of the plan's given patches; tokens that it fixes in other patches are not drawn.
        """
        model, m, grid = self.model, self.config.patch_tokens, plan.grid
        text, mask = model.transformer.text(model.words([prompt, None]).to(model.device))
        pairs = [layer.text_memory(text) for layer in model.transformer.layers]
        return Canvas(
            key=key,
            plan=plan,
            seed=seed,
            sampling=sampling if prompt is not None else Sampling(**{**vars(sampling), "cfg_scale": 1.0}),
            prompt=text[:, 0],
            text_keys=torch.stack([k for k, _ in pairs]),
            text_values=torch.stack([v for _, v in pairs]),
            text_mask=mask,
            tokens=torch.zeros(grid.frames, grid.rows * m, grid.columns * m, dtype=torch.long, device=model.device),
            known=known,
        )

    @torch.inference_mode()
    def decode(self, batch: Sequence[tuple[Canvas, Patch]]) -> list[Tensor]:
        """Draw the M tokens of each patch, one after another (the inner autoregression), and add their states to the
        pool.

        batch: at most `slots` patches whose nearby patches are in the pool. Returns tokens [M] int64 of each, row by
        row.
        Source: paper.md 1.2, p(P_i | C_i, y) = prod_j p(t_ij | t_i<j, C_i, y).
        """
        transformer = self.model.transformer
        slots = self._fill(batch)
        drawn, keys, values = self._run(slots, self._fixed(slots))
        self._add(batch, keys, values)
        rasters = [drawn[i, transformer.scans[c.order.name].to_raster] for i, (c, _) in enumerate(batch)]
        for (canvas, patch), tokens in zip(batch, rasters, strict=True):
            self._record(canvas, patch, tokens)
        return rasters

    def _run(self, slots: Sequence[tuple[Canvas, Patch]], known: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens [slots, M] in scan order and their states [L, 2 slots, H, M, d]; known as _fixed() gives them."""
        m, device = self.config.tokens_per_patch, self.model.device
        context = self._context(slots)
        noise = torch.stack([patch_noise(c.seed, *p, m) for c, p in slots]).to(device)
        params = SamplingRows([canvas.sampling for canvas, _ in slots], device)
        if self._native is not None:
            return self._native(context, params, noise, known)
        drawn = known if (known >= 0).all() else self._draw(context, noise, params, known)
        return drawn, *self._states(drawn, context)

    def _draw(self, context: "_Context", noise: Tensor, params: SamplingRows, fixed: Tensor) -> Tensor:
        """The tokens of all slots [slots, M] in scan order, one after another; noise [slots, M].

        fixed [slots, M]: tokens that are known, -1 where one is to be drawn.
        What model/native/kernel.cpp does faster, and what its tests compare it with.
        """
        transformer, m = self.model.transformer, self.config.tokens_per_patch
        orders, device = context.orders, self.model.device
        targets = torch.stack([transformer.scans[o].target_angles for o in orders])[:, None]
        owns = torch.stack([transformer.scans[o].own_angles for o in orders])[:, None]
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
            drawn[:, step] = torch.where(fixed[:, step] < 0, draw(guided, noise[:, step], params), fixed[:, step])
        return drawn

    def _fixed(self, slots: Sequence[tuple[Canvas, Patch]]) -> Tensor:
        """Of each slot, the tokens that known pixels fix, in scan order; -1 where none does. [slots, M]."""
        fixed = torch.full((len(slots), self.config.tokens_per_patch), -1, device=self.model.device)
        for i, (canvas, patch) in enumerate(slots):
            if canvas.known is not None:
                tokens, mask = known_tokens(self.model.tokenizer, canvas.known, canvas.grid.box(patch))
                scan = self.model.transformer.scans[canvas.order.name]
                fixed[i, scan.to_raster] = torch.where(mask, tokens, -1).flatten()
        return fixed

    @torch.inference_mode()
    def tokens(self, canvas: Canvas, patch: Patch) -> Tensor:
        """The tokens [M] of a patch that exists, row by row; those of a given one from its pixels.

        Raises KeyError for a patch that does not exist yet.
        """
        if patch not in canvas.done:
            if patch not in canvas.plan.given or canvas.known is None:
                raise KeyError(f"{patch} does not exist yet")
            encoded, _ = known_tokens(self.model.tokenizer, canvas.known, canvas.grid.box(patch))
            self._record(canvas, patch, encoded.flatten())
        return self._region(canvas, patch).flatten()

    @torch.inference_mode()
    def prefill(self, batch: Sequence[tuple[Canvas, Patch, Tensor]]) -> None:
        """Put patches with known tokens ([M], row by row) into the pool: the same states that decode() leaves there."""
        patches = [(canvas, patch) for canvas, patch, _ in batch]
        slots = self._fill(patches)
        scans = self.model.transformer.scans
        known = torch.zeros(len(slots), self.config.tokens_per_patch, dtype=torch.long, device=self.model.device)
        for i, (canvas, _, tokens) in enumerate(batch):
            scan = scans[canvas.order.name]
            known[i, scan.to_raster] = tokens.to(known.device)
        _, keys, values = self._run(slots, known)
        self._add(patches, keys, values)
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

        refined False: the halo holds only patches that exist whenever this one is drawn (Plan.around), so the pixels do
        not depend on what else is done. refined True: it holds all patches that touch this one; those of the finished
        picture. Beside known pixels, new ones are brought to meet them.
        """
        m, halo = self.config.patch_tokens, self.model.config.tokenizer.halo
        px = self.model.config.patch_px
        around = canvas.grid.touching(patch) if refined else canvas.plan.around(patch)
        # Three by three patches, then the halo cut out of them: one shape at every place, edges included.
        tokens = torch.zeros(3 * m, 3 * m, dtype=torch.long, device=canvas.tokens.device)
        known = torch.zeros(3 * m, 3 * m, dtype=torch.bool, device=canvas.tokens.device)
        for other in (patch, *around):
            top, left = (other.row - patch.row + 1) * m, (other.column - patch.column + 1) * m
            tokens[top : top + m, left : left + m] = self.tokens(canvas, other).view(m, m)
            known[top : top + m, left : left + m] = True
        if canvas.known is not None:
            given, mask = window(canvas.known, grown(canvas.grid.box(patch), px), canvas.tokens.device)
            near = slice(round((1 - REACH) * px), round((2 + REACH) * px))
            if mask[near, near].any():
                decoded = self.model.tokenizer.decode(tokens[None], known[None])[0]
                return meet(decoded, given, mask & _pixels(known, px // m))[:, px : 2 * px, px : 2 * px]
        cut = slice(m - halo, 2 * m + halo)
        pixels = self.model.tokenizer.decode(tokens[None, cut, cut], known[None, cut, cut])[0]
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
        """Pad to `slots` by repeating the first patch: its copies are computed and thrown away.

        Native code needs no padding: there, rows do not depend on how many there are.
        """
        if not 1 <= len(batch) <= self.slots:
            raise ValueError(f"a batch holds 1 to {self.slots} patches, got {len(batch)}")
        padding = 0 if self._native else self.slots - len(batch)
        return [*batch, *[batch[0]] * padding]

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
        # Stills and films have key layouts of their own; one layout a batch, so that batch mates change nothing.
        extents = {self.extent.within(canvas.grid) for canvas, _ in slots}
        if len(extents) > 1:
            raise ValueError("a batch holds patches of stills or of films, not of both")
        for canvas, patch in slots:
            nearby = canvas.nearby(patch)
            for row in range(2):
                seen = nearby if row < canvas.branches else ()
                contexts.append(
                    [
                        ((canvas.key, p, row), (p.frame - patch.frame, p.row - patch.row, p.column - patch.column))
                        for p in seen
                    ]
                )
        keys, values, mask = self.pool.select(contexts, extents.pop().max_nearby)
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

    def _states(self, tokens: Tensor, context: "_Context") -> tuple[Tensor, Tensor]:
        """The canonical states of finished patches: one teacher-forced pass. tokens [slots, M] in scan order."""
        x = self.model.transformer.embed(tokens.repeat_interleave(2, 0), context.conditions)
        _, keys, values = self.model.transformer.patch_pass(
            x, context.orders, lambda n, k, v: (context.keys[n], context.values[n]), context.mask
        )
        return keys, values

    def _add(self, batch: Sequence[tuple[Canvas, Patch]], keys: Tensor, values: Tensor) -> None:
        """Put the states of finished patches into the pool; keys and values as _run() gives them."""
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


def _pixels(tokens: Tensor, factor: int) -> Tensor:
    """[h, w] of tokens -> [factor h, factor w] of pixels."""
    return tokens.repeat_interleave(factor, 0).repeat_interleave(factor, 1)


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
