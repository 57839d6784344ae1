"""Pictures from tokens from text: decode_patch draws one patch token by token, generate a whole canvas patch by patch.

The ladder, from the bottom: sampling.draw (a token) -> PatchDecoder.decode (patches, all tokens) -> generate (a
canvas); tokens become pixels in model/pixels.py. This file knows no Redis, HTTP or files. The worker's engine drives
the same PatchDecoder, many jobs at a time.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from canvas.grid import Extent, Grid, Patch
from canvas.order import ORDERS, ready
from canvas.plan import Plan, compile_plan
from model.canvas import Canvas
from model.config import ModelConfig
from model.context_pool import NearbyContextPool
from model.distilled import PREFIX
from model.known import KnownPixels, known_tokens
from model.known_outline import KnownWhole, has_gaps
from model.native.pixels import NativePixels, suited
from model.native.step import Row, Slot, Words, choose
from model.sampling import Sampling, SamplingRows, draw, guide, patch_noise
from model.sketch import DRAFT_PATCHES, WITHOUT_PROMPT, Outline
from model.sketching import SKETCHES, Sketcher, draw_outline
from model.text import WordPieces
from model.tokenizer import Tokenizer
from model.transformer import Transformer, attend, in_64_bits


@dataclass
class Model:
    """Everything a folder of weights holds, ready to use. `version` is a hash of it.

    sketcher: where the transformer reads sketches; None draws without. Its sentence encoder is the transformer's.
    """

    config: ModelConfig
    tokenizer: Tokenizer
    transformer: Transformer
    words: WordPieces
    version: str
    sketcher: Sketcher | None = None

    @property
    def device(self) -> torch.device:
        return self.transformer.token.device


@dataclass(frozen=True)
class GeneratedPatch:
    """A finished patch of generate(): its place, its tokens [M] row by row, and how many are done."""

    patch: Patch
    tokens: Tensor
    done: int
    total: int


class PatchDecoder:
    """Decodes patches of any canvases, stills and films, together; batch mates change nothing (in PyTorch because batch
    shapes are fixed).

    slots: patches per batch. Each has two rows, with its prompt and with none, for classifier-free guidance.
    step: what draws the tokens, "native" code for CPUs, "torch", or "auto": native where it can be had. The two agree
    to rounding (native stores 16 bits), so a token at a near tie may differ between them.
    threads: among which native code shares out the patches of a batch; the result is the same.
    Raises ValueError when step is "native" and it cannot be had.
    """

    def __init__(self, model: Model, slots: int = 4, pages: int = 512, step: str = "auto", threads: int = 1) -> None:
        self.model = model
        self.slots = slots
        self.config = model.config.transformer
        self.extent = Extent(*self.config.extent)
        self.text_room = 1 + self.config.text_tokens + (PREFIX if self.config.distilled_scale > 1 else 0)
        self.pool = NearbyContextPool(self.config, pages, model.device)
        self._native = choose(step, model.transformer, threads)
        self.reader = model.transformer if self._native is None else in_64_bits(model.transformer)
        self._sketches: PatchDecoder | None = None
        if self.config.sketch and model.sketcher is not None:
            self._sketches = other = sketch_decoder(model, "torch" if self._native is None else "native", threads)
            other.pixels, other.reader.text.sentence = self.pixels, self.reader.text.sentence  # prompts are read once

    @cached_property
    def pixels(self) -> Tokenizer | NativePixels:
        """What decodes tokens: native code, where tokens are drawn by it and the tokenizer suits it."""
        return self.model.tokenizer if self._native is None else suited(self.model.tokenizer)

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
        A canvas begins with sketch and drafts, if the model draws them, unless its first frame is given wholly.
        Raises ValueError for guidance that the model has not learned to draw with in one pass.
        """
        scale = 1.0 if prompt is None else sampling.cfg_scale  # without a prompt there is nothing to be guided by
        one_pass = scale if sampling.distilled else 1.0
        model, m, grid = self.model, self.config.patch_tokens, plan.grid
        told = self.reader.read(model.words([prompt, None]).to(model.device), one_pass)
        pairs = [layer.text_memory(w) for layer, w in zip(self.reader.layers, told.words, strict=True)]
        keys, values = torch.stack([k for k, _ in pairs]).float(), torch.stack([v for _, v in pairs]).float()
        room = self.text_room - keys.shape[3]  # as many for every canvas: in PyTorch batches have one shape
        keys, values, mask = F.pad(keys, (0, 0, 0, room)), F.pad(values, (0, 0, 0, room)), F.pad(told.mask, (0, room))
        canvas = Canvas(
            key=key,
            plan=plan,
            seed=seed,
            sampling=replace(sampling, cfg_scale=1.0 if sampling.distilled else scale),
            prompt=told.prompt,
            text_keys=keys,
            text_values=values,
            text_mask=mask,
            words=[Words.pack(keys[:, i], values[:, i], mask[i]) for i in range(2)] if self._native else [],
            tokens=torch.zeros(grid.frames, grid.rows * m, grid.columns * m, dtype=torch.long, device=model.device),
            known=known,
        )
        if self._sketches is not None and (known is None or (self.config.draft and has_gaps(plan))):
            sampling, whole = replace(sampling, cfg_scale=scale), None if known is None else KnownWhole(known, grid)
            self.follow(canvas, draw_outline(self._sketches, key, grid, prompt, sampling, seed, whole))
            canvas.one_pass = one_pass
        return canvas

    @torch.inference_mode()
    def follow(self, canvas: Canvas, outline: Outline) -> None:
        """From now on its patches are told this sketch and draft."""
        pixels = self.pixels.decode(outline.shown[None])
        canvas.outline, canvas.sketch_view = outline, self.reader.read_sketch(outline.sketch.view(1, -1), pixels)

    @torch.inference_mode()
    def decode(self, batch: Sequence[tuple[Canvas, Patch]]) -> list[Tensor]:
        """Draw the M tokens of each patch, one after another (the inner autoregression), and add their states to the
        pool.

        batch: at most `slots` patches. Returns tokens [M] int64 of each, row by row. Raises KeyError for a patch that
        looks at one that is not in the pool, MemoryError when the pool is full; then nothing has happened.
        Source: paper.md 1.2, p(P_i | C_i, y) = prod_j p(t_ij | t_i<j, C_i, y).
        """
        scans, drawn = self.model.transformer.scans, self._run(batch, self._fixed(batch))
        rasters = [drawn[i, scans[c.order.name].to_raster] for i, (c, _) in enumerate(batch)]
        for (canvas, patch), tokens in zip(batch, rasters, strict=True):
            canvas.put(patch, tokens)
        return rasters

    def _run(self, batch: Sequence[tuple[Canvas, Patch]], known: Tensor) -> Tensor:
        """Tokens [n, M] of n patches in scan order, known as _fixed() gives them; their states are in the pool then."""
        if not 1 <= len(batch) <= self.slots:
            raise ValueError(f"a batch holds 1 to {self.slots} patches, got {len(batch)}")
        keys = [(canvas.key, patch, row) for canvas, patch in batch for row in range(canvas.branches(patch))]
        for key in (near for c, p in batch for row in range(c.branches(p)) for near, _ in c.context(p, row)):
            self.pool.page(key)  # patches of one batch must not look at each other
        self.pool.take(keys)
        try:
            if self._native is None:
                return self._in_pytorch(batch, known)
            slots = [self._slot(*job, tokens) for job, tokens in zip(batch, known, strict=True)]
            return self._native(self.pool, slots)
        except BaseException:  # a batch that fails leaves nothing behind
            for key in keys:
                self.pool.remove(key)
            raise

    def _slot(self, canvas: Canvas, patch: Patch, known: Tensor) -> Slot:
        """What native code is told of a patch."""
        conditions = self._conditions(canvas, patch)
        rows = [
            Row(
                canvas.order.name,
                conditions[row],
                canvas.words[row],
                self.pool.page((canvas.key, patch, row)),
                [(self.pool.page(key), offset) for key, offset in canvas.context(patch, row)],
            )
            for row in range(canvas.branches(patch))
        ]
        noise = patch_noise(canvas.seed, *patch, self.config.tokens_per_patch)
        return Slot(rows, canvas.sampling.at(patch.frame), noise, known, said=canvas.said)

    def _in_pytorch(self, batch: Sequence[tuple[Canvas, Patch]], known: Tensor) -> Tensor:
        """_run() in plain PyTorch: a pass for stills and one for films, each of one key layout and batch shape."""
        layouts: dict[Extent, list[int]] = {}
        for i, (canvas, _) in enumerate(batch):
            layouts.setdefault(self.extent.within(canvas.grid), []).append(i)
        drawn = known.clone()
        for extent, chosen in layouts.items():
            padded = chosen + chosen[:1] * (self.slots - len(chosen))  # copies are computed and thrown away
            slots, fixed = [batch[i] for i in padded], known[padded]
            context = self._context(slots, extent.max_nearby)
            tokens = fixed if (fixed >= 0).all() else self._draw(context, slots, fixed)
            keys, values = self._states(tokens, context)
            for place, i in enumerate(chosen):
                drawn[i] = tokens[place]
                canvas, patch = batch[i]
                for row in range(canvas.branches(patch)):
                    page = self.pool.page((canvas.key, patch, row))
                    self.pool.write(page, keys[:, 2 * place + row], values[:, 2 * place + row])
        return drawn

    def _draw(self, context: "_Context", slots: Sequence[tuple[Canvas, Patch]], fixed: Tensor) -> Tensor:
        """The tokens of all slots [slots, M] in scan order, one after another.

        fixed [slots, M]: tokens that are known, -1 where one is to be drawn.
        What model/native/tokens.cpp does faster, and what its tests compare it with.
        """
        transformer, m = self.model.transformer, self.config.tokens_per_patch
        orders, device = context.orders, self.model.device
        noise = torch.stack([patch_noise(c.seed, *patch, m) for c, patch in slots]).to(device)
        params = SamplingRows([c.sampling.at(patch.frame) for c, patch in slots], device)
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
        said = torch.zeros(self.slots, device=device)
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
            likely = logits.log_softmax(-1).gather(2, drawn[:, step, None, None].expand(-1, 2, 1))[..., 0]
            said += torch.where(fixed[:, step] < 0, likely[:, 0] - likely[:, 1], 0.0)
        for (canvas, _), nats in zip(slots, said, strict=True):
            if canvas.said is not None:
                canvas.said[0] = nats
        return drawn

    def _fixed(self, slots: Sequence[tuple[Canvas, Patch]]) -> Tensor:
        """Of each slot, the tokens that known pixels fix, in scan order; -1 where none does. [slots, M]."""
        fixed = torch.full((len(slots), self.config.tokens_per_patch), -1, device=self.model.device)
        for i, (canvas, patch) in enumerate(slots):
            if canvas.known is not None:
                tokens, mask = known_tokens(self.model.tokenizer, canvas.known, patch.frame, canvas.grid.box(patch))
                scan = self.model.transformer.scans[canvas.order.name]
                fixed[i, scan.to_raster] = torch.where(mask, tokens, -1).flatten()
        return fixed

    @torch.inference_mode()
    def tokens(self, canvas: Canvas, patch: Patch) -> Tensor:
        """The tokens [M] of a patch that exists, row by row; those of a given one from its pixels.

        Raises KeyError for a patch that does not exist yet.
        """
        tokens = canvas.get(patch)
        if tokens is None:
            if patch not in canvas.plan.given or canvas.known is None:
                raise KeyError(f"{patch} does not exist yet")
            encoded, _ = known_tokens(self.model.tokenizer, canvas.known, patch.frame, canvas.grid.box(patch))
            tokens = encoded.flatten()
            canvas.put(patch, tokens)
        return tokens

    @torch.inference_mode()
    def prefill(self, batch: Sequence[tuple[Canvas, Patch, Tensor]]) -> None:
        """Put patches with known tokens ([M], row by row) into the pool: the same states that decode() leaves there."""
        scans = self.model.transformer.scans
        known = torch.zeros(len(batch), self.config.tokens_per_patch, dtype=torch.long, device=self.model.device)
        for i, (canvas, _, tokens) in enumerate(batch):
            known[i, scans[canvas.order.name].to_raster] = tokens.to(known.device)
        self._run([(canvas, patch) for canvas, patch, _ in batch], known)
        for canvas, patch, tokens in batch:
            canvas.put(patch, tokens)

    def remove(self, canvas: Canvas, patch: Patch) -> None:
        """Forget the states of a patch; unknown ones are ignored (a patch that nothing looks at later)."""
        for row in range(canvas.branches(patch)):
            if (key := (canvas.key, patch, row)) in self.pool:
                self.pool.remove(key)

    def _conditions(self, canvas: Canvas, patch: Patch) -> Tensor:
        """What a patch is told with its prompt and with none, [2, M + 1, D]."""
        reader, order = self.reader, canvas.order.name
        place = torch.tensor([canvas.place(patch)], dtype=reader.begin.dtype, device=self.model.device)
        beside, told = canvas.beside, None
        if canvas.sketch_view is not None and patch.frame == 0:  # a film's is of its first frame
            told = reader.sketched(canvas.sketch_view, place[:, None], order, canvas.one_pass)[:, 0]
        elif canvas.followed is not None and isinstance(reader, Sketcher):
            told = reader.follow(canvas.followed, place[:, None], order)[:, 0]
        if told is not None:
            told = torch.cat([told, WITHOUT_PROMPT * told])
            beside = told if beside is None else beside + told
        return reader.conditions(order, place, canvas.prompt, beside).float()

    def _context(self, slots: Sequence[tuple[Canvas, Patch]], most: int) -> "_Context":
        """What every row is told and looks at, `most` nearby patches or fewer: two rows a slot."""
        contexts = [c.context(p, row) if row < c.branches(p) else [] for c, p in slots for row in range(2)]
        keys, values, mask = self.pool.select(contexts, most)
        return _Context(
            [canvas.order.name for canvas, _ in slots for _ in range(2)],
            torch.cat([self._conditions(*slot) for slot in slots]),
            torch.cat([torch.cat([canvas.text_keys for canvas, _ in slots], 1), keys], 3),
            torch.cat([torch.cat([canvas.text_values for canvas, _ in slots], 1), values], 3),
            torch.cat([torch.cat([canvas.text_mask for canvas, _ in slots]), mask], 1),
        )

    def _states(self, tokens: Tensor, context: "_Context") -> tuple[Tensor, Tensor]:
        """The canonical states of finished patches: one teacher-forced pass. tokens [slots, M] in scan order."""
        x = self.model.transformer.embed(tokens.repeat_interleave(2, 0), context.conditions)
        _, keys, values = self.model.transformer.patch_pass(
            x, context.orders, lambda n, k, v: (context.keys[n], context.values[n]), context.mask
        )
        return keys, values


def sketch_decoder(model: Model, step: str = "auto", threads: int = 1) -> PatchDecoder:
    """What draw_outline() draws with. Raises ValueError where there is no sketcher."""
    if model.sketcher is None:
        raise ValueError("these weights have no sketcher")
    config, pages = replace(model.config, transformer=model.sketcher.config), 2 * max(SKETCHES, DRAFT_PATCHES)
    return PatchDecoder(replace(model, config=config, transformer=model.sketcher), SKETCHES, pages, step, threads)


@dataclass(frozen=True)
class _Context:
    """All that R rows are given beside their own tokens, for PyTorch."""

    orders: list[str]  # R names
    conditions: Tensor  # [R, M + 1, D]
    keys: Tensor  # [L, R, H, C, d] of words and nearby patches
    values: Tensor
    mask: Tensor  # [R, C] bool


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


def draw_phases(decoder: PatchDecoder, canvas: Canvas) -> None:
    """All phases of a canvas's plan, one patch after another; what exists before a phase is replayed in its order.

    The pool must have a page of each branch for every patch.
    """
    for number, phase in enumerate(canvas.plan.phases):
        canvas.phase = number
        for walked, patch in canvas.plan.sequence():
            if walked is phase and canvas.plan.exists_before(number, patch):
                decoder.prefill([(canvas, patch, decoder.tokens(canvas, patch))])
            elif walked is phase:
                decoder.decode([(canvas, patch)])
        for patch in canvas.grid:
            decoder.remove(canvas, patch)
