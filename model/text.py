"""A prompt becomes text states [B, S, D]: the states of a frozen sentence encoder, and a small trained tower on top.

The encoder is the first four layers of all-MiniLM-L6-v2 in 8 bits (training/sentence.py), so that words no training
caption uses still have neighbours that training captions do use.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer as WordPieceTokenizer
from torch import Tensor, nn

from model.config import TransformerConfig
from model.thesaurus import Thesaurus


class WordPieces:
    """Prompt -> word-piece ids, padded to S. `None` is the empty prompt of classifier-free guidance.

    thesaurus: of the words that the model did not learn.
    """

    def __init__(self, file: Path, length: int, thesaurus: Thesaurus | None = None) -> None:
        self._tokenizer = WordPieceTokenizer.from_file(str(file))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(length)
        self._length, self._thesaurus = length, thesaurus

    def __call__(self, prompts: Sequence[str | None]) -> Tensor:
        """-> ids [B, S] int64; -1 is padding. With the encoder's [CLS] and [SEP]; what does not fit is cut."""
        ids = torch.full((len(prompts), self._length), -1, dtype=torch.long)
        for row, prompt in enumerate(prompts):
            if prompt is not None:
                prompt = prompt if self._thesaurus is None else self._thesaurus(prompt)
                pieces = self._tokenizer.encode(prompt).ids
                ids[row, : len(pieces)] = torch.tensor(pieces, dtype=torch.long)
        return ids


class EightBitLinear(nn.Module):
    """A frozen linear map, its matrix in 8-bit integers with one scale for each row."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(outputs, inputs, dtype=torch.int8))
        self.register_buffer("scales", torch.ones(outputs))
        self.register_buffer("bias", torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.to(x.dtype)) * self.scales + self.bias


class SentenceLayer(nn.Module):
    """A layer of a BERT: post-norm self-attention both ways, then a feed-forward."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = EightBitLinear(width, 3 * width)
        self.out = EightBitLinear(width, width)
        self.norm1 = nn.LayerNorm(width, eps=1e-12)
        self.up = EightBitLinear(width, 4 * width)
        self.down = EightBitLinear(4 * width, width)
        self.norm2 = nn.LayerNorm(width, eps=1e-12)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = self.norm1(x + self.out(_attention(self.qkv(x), self.heads, mask)))
        return self.norm2(x + self.down(F.gelu(self.up(x))))


class SentenceEncoder(nn.Module):
    """Word-piece ids -> the states of a frozen BERT after `depth` layers; only its matrices are kept in 8 bits."""

    def __init__(self, width: int, depth: int, heads: int, vocabulary: int, length: int) -> None:
        super().__init__()
        self.register_buffer("table", torch.zeros(vocabulary, width, dtype=torch.int8))
        self.register_buffer("scales", torch.ones(vocabulary))
        self.register_buffer("places", torch.zeros(length, width))
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.layers = nn.ModuleList(SentenceLayer(width, heads) for _ in range(depth))
        self.register_buffer("centre", torch.zeros(width))  # of the states of captions, and their spread
        self.register_buffer("spread", torch.ones(()))
        self.requires_grad_(False)

    @torch.no_grad()
    def forward(self, ids: Tensor) -> Tensor:
        """ids [B, S] int64, -1 = padding -> states [B, S, E], centred and scaled to a variance of 1 over captions."""
        length = ids.shape[1]
        ids = ids[:, : max(1, int((ids >= 0).sum(1).max()))]  # most prompts are short
        words = ids >= 0
        words[:, 0] = True  # a row without words would have nothing to look at
        safe = ids.clamp_min(0)
        vectors = self.table[safe].to(self.places.dtype) * self.scales[safe][..., None]
        x = self.norm(vectors + self.places[: ids.shape[1]])
        for layer in self.layers:
            x = layer(x, words)
        return F.pad((x - self.centre) / self.spread, (0, 0, 0, length - ids.shape[1]))


class LatestStates(nn.Module):
    """A sentence encoder that is not asked again for the prompts that it read last.

    A transformer and its sketcher read the same prompt one after the other, and so do the pictures of a group.
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self._latest: tuple[Tensor, Tensor] | None = None  # ids and their states

    def forward(self, ids: Tensor) -> Tensor:
        """As SentenceEncoder."""
        if self._latest is None or not torch.equal(self._latest[0], ids):
            self._latest = ids, self.encoder(ids)
        return self._latest[1]


class TextLayer(nn.Module):
    """Pre-norm self-attention over the words of a prompt, both ways, then a feed-forward."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = x + self.out(_attention(self.qkv(self.norm1(x)), self.heads, mask))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class TextEncoder(nn.Module):
    """Word-piece ids -> states and their mask. The first state always counts: it is the empty prompt's, learned."""

    def __init__(self, config: TransformerConfig, vocabulary: int) -> None:
        super().__init__()
        self.sentence: nn.Module = SentenceEncoder(
            config.sentence_width, config.sentence_depth, config.sentence_heads, vocabulary, config.text_tokens
        )
        self.project = nn.Linear(config.sentence_width, config.width)
        self.begin = nn.Parameter(torch.zeros(config.width))
        self.places = nn.Parameter(torch.randn(config.text_tokens + 1, config.width) * 0.02)
        self.layers = nn.ModuleList(TextLayer(config.width, config.heads) for _ in range(config.text_depth))
        self.norm = nn.LayerNorm(config.width)

    def forward(self, ids: Tensor, noise: float = 0.0) -> tuple[Tensor, Tensor]:
        """ids [B, S] int64, -1 = padding -> states [B, 1 + S, D] and mask [B, 1 + S] bool, True where there is text.

        noise: of this standard deviation on the frozen states, in training: near words then mean the same.
        """
        words = ids >= 0
        states = self.sentence(ids)
        if noise:
            states = states + noise * torch.randn_like(states)
        x = torch.cat([self.begin.expand(len(ids), 1, -1), self.project(states)], 1) + self.places
        mask = torch.cat([torch.ones_like(words[:, :1]), words], 1)
        for layer in self.layers:
            x = layer(x, mask)
        return self.norm(x), mask


def _attention(qkv: Tensor, heads: int, mask: Tensor) -> Tensor:
    """qkv [B, T, 3 D] -> [B, T, D]: every place looks at those of `mask` [B, T]."""
    q, k, v = qkv.unflatten(2, (3, heads, -1)).permute(2, 0, 3, 1, 4)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None]).transpose(1, 2).flatten(2)
