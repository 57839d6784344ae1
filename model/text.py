"""A prompt becomes text states [B, S, D]: frozen word-piece vectors of a sentence encoder, and a small trained tower
on top.

The vectors are distilled from all-MiniLM-L6-v2 (training/text_table.py), so that words no training caption uses still
have neighbours that training captions do use.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer as WordPieceTokenizer
from torch import Tensor, nn

from model.config import TransformerConfig


class WordPieces:
    """Prompt -> word-piece ids, padded to S. `None` is the empty prompt of classifier-free guidance."""

    def __init__(self, file: Path, length: int) -> None:
        self._tokenizer = WordPieceTokenizer.from_file(str(file))
        self._length = length

    def __call__(self, prompts: Sequence[str | None]) -> Tensor:
        """-> ids [B, S] int64; -1 is padding. A prompt longer than S word pieces is cut."""
        ids = torch.full((len(prompts), self._length), -1, dtype=torch.long)
        for row, prompt in enumerate(prompts):
            if prompt is not None:
                pieces = self._tokenizer.encode(prompt, add_special_tokens=False).ids[: self._length]
                ids[row, : len(pieces)] = torch.tensor(pieces, dtype=torch.long)
        return ids


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
        batch, length, width = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(batch, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None])
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class TextEncoder(nn.Module):
    """Word-piece ids -> states and their mask. The first state always counts: it is the empty prompt's, learned."""

    def __init__(self, config: TransformerConfig, vocabulary: int) -> None:
        super().__init__()
        self.register_buffer("table", torch.zeros(vocabulary, config.text_dim, dtype=torch.int8))
        self.register_buffer("scales", torch.ones(vocabulary))
        self.project = nn.Linear(config.text_dim, config.width)
        self.begin = nn.Parameter(torch.zeros(config.width))
        self.places = nn.Parameter(torch.randn(config.text_tokens + 1, config.width) * 0.02)
        self.layers = nn.ModuleList(TextLayer(config.width, config.heads) for _ in range(config.text_depth))
        self.norm = nn.LayerNorm(config.width)

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """ids [B, S] int64, -1 = padding -> states [B, 1 + S, D] and mask [B, 1 + S] bool, True where there is text."""
        words = ids >= 0
        safe = ids.clamp_min(0)
        vectors = self.table[safe].float() * self.scales[safe][..., None]
        x = torch.cat([self.begin.expand(len(ids), 1, -1), self.project(vectors)], 1) + self.places
        mask = torch.cat([torch.ones_like(words[:, :1]), words], 1)
        for layer in self.layers:
            x = layer(x, mask)
        return self.norm(x), mask
