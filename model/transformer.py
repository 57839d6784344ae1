"""Tokens + nearby context + text -> logits: one decoder-only stack for both levels of the autoregression.

The keys and values of a query are [text] + [pages of nearby patches] + [own earlier tokens]. Queries sit at the token
about to be drawn, keys at the token they hold, so "the token above the one I draw" is one fixed offset in every scan
direction.

A patch takes M + 1 positions: a begin token, then its M tokens. Position j draws token j; the states of positions 1..M
are what later patches look at (paper.md 1.5). They come from `patch_pass` over the finished patch, not from drawing it
step by step, because here the two differ in the last bits; native code (model/native) takes the same steps for tokens
that it draws and for those it is given, so there they are equal.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from canvas.order import ORDERS
from model.config import ModelConfig
from model.distilled import DistilledGuidance, Told
from model.position import CanvasEmbedding, rotary_angles, rotate
from model.sketch import CLOSE, CLOSER, SketchReader, SketchView
from model.text import LatestStates, TextEncoder

VOCABULARY = 30_522  # word pieces of the sentence encoder

Memory = Callable[[int, Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass
class Scan:
    """How one order walks through a patch, as tensors. `steps` [M, 2]: row and column of the token drawn at each
    step.
    """

    steps: Tensor
    target_angles: Tensor  # [M + 1, d / 2]: where the query of each position sits (the token it draws)
    own_angles: Tensor  # [M + 1, d / 2]: where the key of each position sits (the token it holds)
    to_raster: Tensor  # [M]: step at which each token, row by row, is drawn


class Layer(nn.Module):
    """Pre-norm attention over memory and own earlier tokens, then a feed-forward."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.head_dim = width // heads
        self.norm1 = nn.LayerNorm(width, bias=False)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.q_norm = nn.LayerNorm(self.head_dim, bias=False)
        self.k_norm = nn.LayerNorm(self.head_dim, bias=False)
        self.text_kv = nn.Linear(width, 2 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.norm2 = nn.LayerNorm(width, bias=False)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.down.weight)

    def project(self, x: Tensor, target_angles: Tensor, own_angles: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x [R, T, D] -> queries, keys, values [R, H, T, d], turned to their places inside the patch."""
        rows, length, _ = x.shape
        qkv = self.qkv(self.norm1(x)).view(rows, length, 3, self.heads, self.head_dim)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        return rotate(self.q_norm(q), target_angles), rotate(self.k_norm(k), own_angles), v

    def text_memory(self, text: Tensor) -> tuple[Tensor, Tensor]:
        """text [R, S, D] -> keys, values [R, H, S, d]; words have no place on the canvas, so nothing is turned."""
        rows, length, _ = text.shape
        k, v = self.text_kv(text).view(rows, length, 2, self.heads, self.head_dim).permute(2, 0, 3, 1, 4)
        return self.k_norm(k), v

    def finish(self, x: Tensor, mixed: Tensor) -> Tensor:
        """Residual of attention output [R, H, T, d], then the feed-forward."""
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Transformer(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = c = config.transformer
        self.codebook_size = config.tokenizer.codebook_size
        # Neighbouring codes look alike, so a token is also the sum of its levels: rare codes learn from common ones.
        features = _level_features(config.tokenizer.levels)
        self.register_buffer("level_features", features, persistent=False)
        self.token = nn.Parameter(torch.randn(self.codebook_size, c.width) * 0.02)
        self.token_levels = nn.Parameter(torch.randn(features.shape[1], c.width) * 0.02)
        self.head = nn.Parameter(torch.zeros(self.codebook_size, c.width))
        self.head_levels = nn.Parameter(torch.zeros(features.shape[1], c.width))
        self.begin = nn.Parameter(torch.randn(c.width) * 0.02)
        self.order = nn.Parameter(torch.randn(len(c.orders), c.width) * 0.02)
        self.target = nn.Parameter(torch.randn(2, c.patch_tokens, c.width) * 0.02)
        self.canvas = CanvasEmbedding(c.width)
        self.text = TextEncoder(c, VOCABULARY)
        self.layers = nn.ModuleList(Layer(c.width, c.heads) for _ in range(c.depth))
        self.prompt = nn.Linear(c.width, c.width, bias=False)  # of the whole prompt, to every position
        nn.init.zeros_(self.prompt.weight)
        if c.distilled_scale > 1:
            self.guidance = DistilledGuidance(c)
        if c.sketch:
            self.sketch = SketchReader(c.width, c.patch_tokens, CLOSER if c.draft else CLOSE)
        self.norm = nn.LayerNorm(c.width, bias=False)
        self.scans = {name: self._scan(name) for name in c.orders}

    # Tables, not maps: trained by AdamW (training/optimizer.py).
    adamw = frozenset(
        {"token", "head", "begin", "order", "target", "text.places", "text.begin", "canvas", "sketch.places"}
    )

    def forward(
        self,
        tokens: Tensor,
        ids: Tensor,
        order: str,
        nearby: Tensor,
        corners: Tensor,
        place: Tensor,
        text_noise: float = 0.0,
        scale: float = 1.0,
        beside: Tensor | None = None,
    ) -> Tensor:
        """All patches of whole canvases in one masked pass (training).

        tokens: [B, N, M] int64 in scan order.  ids: [B, S] word pieces, -1 = padding.
        nearby: [N, K] index of each nearby patch, -1 where there is none.  corners: [N, 3] frame, row, column of each
        patch.
        place: [B, N, 4] on the canvas, or NaN.  text_noise and scale: see read().
        beside: [B, N, M, D], see conditions().
        Returns logits [B, N, M, V]. Source: paper.md 1.2.

        Here angles count from a corner of the canvas, which turns queries, nearby keys and words of a patch alike: the
        same products as the relative ones of patch_pass and decoding, at a fraction of the copies.
        """
        batch, patches, length = tokens.shape
        scan, dim, positions = self.scans[order], self.config.head_dim, length + 1
        told = self.read(ids, scale, text_noise)
        words = told.mask.shape[1]
        conditions = self.conditions(
            order,
            place.flatten(0, 1),
            told.prompt.repeat_interleave(patches, 0),
            None if beside is None else beside.flatten(0, 1),
        )
        x = self.embed(tokens.flatten(0, 1), conditions)
        scale = torch.tensor([1, self.config.patch_tokens, self.config.patch_tokens], device=tokens.device)
        corner = rotary_angles((corners * scale).float(), dim)[:, None]  # [N, 1, d / 2]
        target_angles = (scan.target_angles + corner).repeat(batch, 1, 1)[:, None]
        own_angles = (scan.own_angles + corner).repeat(batch, 1, 1)[:, None]
        index, mask = self._whole_canvas_keys(nearby, told.mask, positions)

        def rows(of_text: Tensor, of_patches: Tensor) -> Tensor:
            """States of words [B, N, H, S, d] and of tokens [B N, H, T, d] -> what each patch looks at [B N, H, C,
            d].
            """
            text_rows = of_text.permute(0, 1, 3, 2, 4).reshape(batch, patches * words, -1)
            token_rows = of_patches.transpose(1, 2).reshape(batch, patches * positions, -1)
            table = torch.cat([text_rows, token_rows], 1).flatten(0, 1)
            picked = F.embedding(index, table)  # a gather whose gradient is fast on a CPU
            return picked.view(batch * patches, -1, self.config.heads, dim).transpose(1, 2)

        for layer, text in zip(self.layers, told.words, strict=True):
            q, k, v = layer.project(x, target_angles, own_angles)
            text_k, text_v = (t[:, None].expand(-1, patches, -1, -1, -1) for t in layer.text_memory(text))
            keys, values = rows(rotate(text_k, corner[:, None]), k), rows(text_v, v)
            x = layer.finish(x, _attend_at_once(q, keys, values, mask))
        return self.logits(x[:, :-1]).unflatten(0, (batch, patches))

    def read(self, ids: Tensor, scale: float = 1.0, noise: float = 0.0) -> Told:
        """Prompts, ids [R, S] of word pieces, -1 = padding, as patches are told them.

        scale: of classifier-free guidance to draw with at once, up to distilled_scale; 1 = plain likelihoods.
        noise: see TextEncoder. Raises ValueError for a scale that was not learned.
        """
        most = self.config.distilled_scale
        if not 1 <= scale <= most:
            raise ValueError(f"guidance in one pass must be from 1 to {most:g}, got {scale:g}")
        words, mask = self.text(ids, noise)
        prompt = self.prompt(words[:, 0])
        if scale > 1:
            return self.guidance(words, mask, prompt, scale)
        return Told([words] * len(self.layers), mask, prompt)

    def _whole_canvas_keys(self, nearby: Tensor, text_mask: Tensor, positions: int) -> tuple[Tensor, Tensor]:
        """Which rows of a batch's states each patch looks at [B, N * C], and which of them count [B N, 1, T, C].

        C = words + K * M tokens of nearby patches (their begin token left out) + T own positions, up to one's own.
        """
        batch, words = text_mask.shape
        patches = len(nearby)
        device = nearby.device
        own_patch = torch.arange(patches, device=device)[:, None]
        text = own_patch * words + torch.arange(words, device=device)
        tokens = patches * words + torch.arange(1, positions, device=device)
        near = (nearby.clamp_min(0)[:, :, None] * positions + tokens).flatten(1)
        own = patches * words + own_patch * positions + torch.arange(positions, device=device)
        index = torch.cat([text, near, own], 1).flatten()
        size = patches * (words + positions)
        index = index + torch.arange(batch, device=device)[:, None] * size
        seen = torch.cat(
            [
                text_mask[:, None].expand(-1, patches, -1),
                (nearby >= 0).repeat_interleave(positions - 1, 1).expand(batch, -1, -1),
            ],
            2,
        ).flatten(0, 1)
        causal = torch.ones(positions, positions, dtype=torch.bool, device=device).tril()
        return index, torch.cat([seen[:, None].expand(-1, positions, -1), causal.expand(batch * patches, -1, -1)], 2)[
            :, None
        ]

    def embed(self, tokens: Tensor, conditions: Tensor) -> Tensor:
        """tokens [R, M] in scan order and conditions [R, M + 1, D] -> inputs of all M + 1 positions [R, M + 1, D]."""
        begin = self.begin.expand(len(tokens), 1, -1)
        return torch.cat([begin, self.embed_tokens(tokens)], 1) + conditions

    def embed_tokens(self, tokens: Tensor) -> Tensor:
        """[...] int64 in [0, V) -> [..., D]."""
        return F.embedding(tokens, self.token_table())

    def token_table(self, dtype: torch.dtype | None = None) -> Tensor:
        """Input vector of each token, [V, D]; in 64 bits they are the same on all processors."""
        return self.token.to(dtype) + self.level_features.to(dtype) @ self.token_levels.to(dtype)

    def head_table(self, dtype: torch.dtype | None = None) -> Tensor:
        """Output vector of each token, [V, D]."""
        return self.head.to(dtype) + self.level_features.to(dtype) @ self.head_levels.to(dtype)

    def conditions(self, order: str, place: Tensor, prompt: Tensor, beside: Tensor | None = None) -> Tensor:
        """What every position is told beside its token, [R, M + 1, D].

        The order, the place of its target in the patch, the patch's place on the canvas, the prompt as a whole, [R, D]
        of read(), and what a sketch tells each target, beside [R, M, D] in scan order (sketched()).
        """
        steps = self.scans[order].steps
        target = self.target[0][steps[:, 0]] + self.target[1][steps[:, 1]]
        if beside is not None:
            target = target + beside
        target = F.pad(target, (0, 0, 0, 1))  # the last position draws nothing
        of_patch = self.order[self.config.orders.index(order)] + self.canvas(place) + prompt
        return of_patch[:, None] + target

    def read_sketch(self, tokens: Tensor, pixels: Tensor) -> SketchView:
        """Sketches of B canvases, tokens [B, M] row by row, with pixels as SketchView has them, for sketched()."""
        return self.sketch(self.embed_tokens(tokens), pixels)

    def sketched(self, view: SketchView, place: Tensor, order: str, scale: float = 1.0) -> Tensor:
        """What read_sketch() tells patches at place [B, N, 4]: [B, N, M, D] in scan order.

        scale: as read() has it.
        """
        told = self.sketch.told(view, place, self.scans[order].steps)
        return self.guidance.sketched(told, scale) if scale > 1 else told

    def logits(self, x: Tensor, head: Tensor | None = None) -> Tensor:
        """[..., D] -> [..., V]. head: head_table(), where a caller keeps it."""
        return F.linear(self.norm(x), self.head_table() if head is None else head)

    def patch_pass(self, x: Tensor, order: list[str], memory: Memory, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """One teacher-forced pass over whole patches: the only maker of context states.

        x: [R, M + 1, D] from embed().  order: of each row.  memory(layer, ...) gives keys and values of text and
        nearby patches [R, H, C, d].  mask: [R, C] bool, False where there is none.
        Returns hidden [R, M + 1, D], and the keys and values of the tokens [L, R, H, M, d] as the pool keeps them.
        """
        rows, length, _ = x.shape
        targets = torch.stack([self.scans[name].target_angles for name in order])[:, None]
        owns = torch.stack([self.scans[name].own_angles for name in order])[:, None]
        own = torch.ones(length, length, dtype=torch.bool, device=x.device).tril().expand(rows, -1, -1)
        full = torch.cat([mask[:, None].expand(-1, length, -1), own], 2)[:, None]
        all_k, all_v = [], []
        for number, layer in enumerate(self.layers):
            q, k, v = layer.project(x, targets, owns)
            memory_k, memory_v = memory(number, k, v)
            mixed = attend(q, torch.cat([memory_k, k], 2), torch.cat([memory_v, v], 2), full)
            x = layer.finish(x, mixed)
            all_k.append(k[:, :, 1:])
            all_v.append(v[:, :, 1:])
        return x, torch.stack(all_k), torch.stack(all_v)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Transformer":
        super()._apply(fn, recurse)  # the scans follow the parameters to their device
        self.scans = {
            name: Scan(fn(s.steps), fn(s.target_angles), fn(s.own_angles), fn(s.to_raster))
            for name, s in self.scans.items()
        }
        return self

    def _scan(self, name: str) -> Scan:
        m = self.config.patch_tokens
        steps = torch.tensor(ORDERS[name].token_scan(m))
        positions = F.pad(steps, (1, 0)).float()  # frame 0 of its own patch
        targets = torch.cat([positions, positions[-1:]])
        owns = torch.cat([positions[:1], positions])
        to_raster = torch.empty(m * m, dtype=torch.long)
        to_raster[steps[:, 0] * m + steps[:, 1]] = torch.arange(m * m)
        dim = self.config.head_dim
        return Scan(steps, rotary_angles(targets, dim), rotary_angles(owns, dim), to_raster)


def in_64_bits(transformer: Transformer) -> Transformer:
    """A copy that reads prompts, places and sketches in 64 bits, and can do no more.

    PyTorch's products differ in their last bits from one kind of processor to another. Rounded from 64 bits to 32 they
    do not (but for one number in many millions), so native code is told the same everywhere and draws the same tokens.
    """
    kept: dict[int, object] = {id(t): t for t in transformer.buffers() if not t.is_floating_point()}  # 8-bit matrices
    for layer in transformer.layers:
        kept |= {id(part): None for part in (layer.qkv, layer.out, layer.up, layer.down)}
    reader = copy.deepcopy(transformer, kept).double()
    reader.text.sentence = LatestStates(reader.text.sentence)
    return reader


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """Attention by plain products, whose rows do not depend on how many threads share them (performance.md 5).

    q [R, H, T, d], k and v [R, H, C, d], mask broadcast to [R, H, T, C] bool -> [R, H, T, d].
    """
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    return scores.masked_fill(~mask, float("-inf")).softmax(-1) @ v


def _attend_at_once(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """The same by torch's own attention, for training. On a CPU always in 32 bits: in 16 it is slower, even where
    products are faster.
    """
    if not q.is_cpu:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    with torch.autocast("cpu", enabled=False):
        return F.scaled_dot_product_attention(q.float(), k.float(), v.float(), attn_mask=mask)


def _level_features(levels: tuple[int, ...]) -> Tensor:
    """[V, sum of levels]: which level each channel of each code has, one-hot, in the quantiser's numbering."""
    codes = torch.arange(int(torch.tensor(levels).prod()))
    parts, basis = [], 1
    for level in levels:
        parts.append(F.one_hot(codes // basis % level, level).float())
        basis *= level
    return torch.cat(parts, 1)
