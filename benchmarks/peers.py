"""Whom the decoder is measured against: `transformers` generate, and a plain loop as gpt-fast has it.

Both are token decoders of equal width, depth, heads and vocabulary with random weights, in float32, and get as many
keys to look at as a patch has. Only the steps are timed: what comes before them (prefill) is given to them for free.
"""

import copy
import time
from typing import Any, Literal

import torch
import torch.nn.functional as F
import transformers
from torch import Tensor, nn

from model.config import TransformerConfig

STEPS = 16  # timed in a row; their keys are those of the middle of a patch
Cache = Literal["static", "dynamic"]


class Transformers:
    """A Llama of `transformers`, with the attention that it takes by itself, sampling as it does by default.

    Its feed-forward has three matrices of 8/3 width, so as many weights as ours.
    """

    def __init__(self, config: TransformerConfig, vocabulary: int, keys: int) -> None:
        torch.manual_seed(0)
        transformers.logging.set_verbosity_error()
        shape = transformers.LlamaConfig(
            hidden_size=config.width,
            intermediate_size=8 * config.width // 3,
            num_hidden_layers=config.depth,
            num_attention_heads=config.heads,
            num_key_value_heads=config.heads,
            vocab_size=vocabulary,
            max_position_embeddings=keys + STEPS,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=None,
            pad_token_id=0,
        )
        self.model = transformers.LlamaForCausalLM(shape).eval().requires_grad_(False)
        self._before = keys - STEPS // 2

    def prompted(self, rows: int, cache: Cache) -> "Prompted":
        """So many sequences whose prompt, as long as the keys before the middle, is in a cache of that kind."""
        config = self.model.config
        tokens = torch.randint(1, config.vocab_size, (rows, self._before))
        static = {"max_cache_len": self._before + STEPS + 1} if cache == "static" else {}
        kept = (transformers.StaticCache if static else transformers.DynamicCache)(config=config, **static)
        self.model(tokens[:, :-1], cache=kept, use_cache=True)
        return Prompted(self.model, tokens, kept)


class Prompted:
    """Sequences that can be continued as often as one likes, each time from the same place."""

    def __init__(self, model: transformers.LlamaForCausalLM, tokens: Tensor, cache: transformers.Cache) -> None:
        self._model, self._tokens, self._cache = model, tokens, cache

    def step_seconds(self) -> float:
        """The mean of STEPS steps of generate(), in processor time."""
        clock = _Clock()
        self._model.generate(
            self._tokens,
            do_sample=True,
            top_k=0,
            max_new_tokens=STEPS + 1,  # the first one belongs to the prompt
            cache=copy.deepcopy(self._cache),
            stopping_criteria=transformers.StoppingCriteriaList([clock]),
        )
        return (clock.ticks[-1] - clock.ticks[0]) / STEPS


class _Clock(transformers.StoppingCriteria):
    """Stops nothing: it notes when each token is there."""

    def __init__(self) -> None:
        self.ticks: list[float] = []

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: Any) -> Tensor:
        self.ticks.append(time.process_time())
        return torch.zeros(len(input_ids), dtype=torch.bool)


class PlainLoop(nn.Module):
    """Static cache, fused projections, SDPA, sampling without a sort: the loop of gpt-fast, uncompiled.

    Source: gpt-fast's model.py and generate.py, in the words of this project.
    """

    def __init__(self, config: TransformerConfig, vocabulary: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.heads, self.head_dim = config.heads, config.head_dim
        self.table = nn.Embedding(vocabulary, config.width)
        self.layers = nn.ModuleList(_PlainLayer(config.width, config.heads) for _ in range(config.depth))
        self.norm = nn.RMSNorm(config.width)
        self.eval().requires_grad_(False)

    def cache(self, rows: int, keys: int, layers: int | None = None) -> list[tuple[Tensor, Tensor]]:
        """Room for the keys and values of each layer, [R, H, keys, d], filled as if there had been a prompt."""
        shape = (rows, self.heads, keys, self.head_dim)
        return [(torch.randn(shape), torch.randn(shape)) for _ in range(layers or len(self.layers))]

    def forward(self, tokens: Tensor, start: int, cache: list[tuple[Tensor, Tensor]]) -> Tensor:
        """tokens [R, T] at places start, start + 1, ... -> logits [R, T, V]; all keys before them are looked at."""
        x = self.table(tokens)
        angles = angles_of(start, tokens.shape[1], self.head_dim)
        for layer, (keys, values) in zip(self.layers, cache, strict=True):
            x = layer(x, start, angles, keys, values)
        return F.linear(self.norm(x), self.table.weight)

    def steps(self, tokens: Tensor, start: int, count: int, cache: list[tuple[Tensor, Tensor]]) -> Tensor:
        """Draw `count` tokens after tokens [R, 1], one after another; the last ones, [R, 1]."""
        for place in range(start, start + count):
            probs = self(tokens, place, cache)[:, -1].softmax(-1)
            tokens = (probs / torch.empty_like(probs).exponential_(1)).argmax(-1, keepdim=True)
        return tokens


class _PlainLayer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.RMSNorm(width), nn.RMSNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        hidden = 8 * width // 3
        self.gate, self.up = nn.Linear(width, hidden, bias=False), nn.Linear(width, hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor, start: int, angles: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        rows, length, _ = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(rows, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        end = start + length
        keys[:, :, start:end], values[:, :, start:end] = _turned(k, angles), v
        seen = torch.ones(length, end, dtype=torch.bool).tril(start) if length > 1 else None
        mixed = F.scaled_dot_product_attention(_turned(q, angles), keys[:, :, :end], values[:, :, :end], attn_mask=seen)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        h = self.norm2(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


def angles_of(start: int, length: int, dim: int) -> Tensor:
    """Rotary angles of places start, start + 1, ...: [length, dim / 2]."""
    return torch.arange(start, start + length)[:, None] * 10_000 ** (-torch.arange(0, dim, 2) / dim)


def _turned(x: Tensor, angles: Tensor) -> Tensor:
    a, b = x.chunk(2, -1)
    return torch.cat([a * angles.cos() - b * angles.sin(), a * angles.sin() + b * angles.cos()], -1)
