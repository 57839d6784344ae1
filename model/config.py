"""The shape of a model: plain numbers, named presets, and their JSON form (config.json beside the weights)."""

import math
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self, TypeVar

_T = TypeVar("_T")

FACTORS = (8, 16)  # pixels on a token's side: two levels, at 1/4 and at 1/factor


@dataclass(frozen=True)
class TokenizerConfig:
    """Pixels <-> visual tokens. One token stands for `factor` x `factor` pixels."""

    levels: tuple[int, ...] = (8, 5, 5, 5)  # finite scalar quantisation: 8*5*5*5 = 1,000 codes
    encoder_widths: tuple[int, int] = (64, 160)  # channels at 1/4 and at 1/factor of the resolution
    encoder_blocks: tuple[int, int] = (2, 3)
    decoder_widths: tuple[int, int] = (96, 224)
    decoder_blocks: tuple[int, int] = (3, 4)
    factor: int = field(default=8, metadata={"optional": True})  # older config.json files do not have it

    def __post_init__(self) -> None:
        if self.factor not in FACTORS:
            raise ValueError(f"tokenizer.factor is {self.factor}, but must be one of {', '.join(map(str, FACTORS))}")

    @property
    def codebook_size(self) -> int:
        return math.prod(self.levels)

    @property
    def halo(self) -> int:
        """Tokens around a region that its pixels depend on: one per coarse block, 4 / factor of one per fine block."""
        return self.decoder_blocks[1] + math.ceil(self.decoder_blocks[0] * 4 / self.factor)


@dataclass(frozen=True)
class TransformerConfig:
    """One decoder-only stack for both levels of the autoregression (paper.md 1.2)."""

    width: int = 192
    depth: int = 6
    heads: int = 6
    patch_tokens: int = 8  # m: a patch is m x m tokens
    extent: tuple[int, int, int] = (1, 1, 1)  # frames, rows, columns (paper.md 1.4)
    orders: tuple[str, ...] = ("zeta", "omega", "zeta_star", "omega_star")  # index = row of the order embedding
    sentence_width: int = 384  # of the frozen sentence encoder: all-MiniLM-L6-v2's shape
    sentence_depth: int = 4  # of its six: the last two know no more of the words of prompts (docs/training.md)
    sentence_heads: int = 12
    text_tokens: int = 32  # S: longer prompts are cut
    text_depth: int = 2  # trained layers on top
    # Largest guidance scale that one pass was taught to draw with; 1 = none. Older config.json files do not have it.
    distilled_scale: float = field(default=1.0, metadata={"optional": True})
    # Whether canvases begin with a sketch of the whole (model/sketch.py). Older config.json files do not have it.
    sketch: bool = field(default=False, metadata={"optional": True})
    draft: bool = field(default=False, metadata={"optional": True})  # whether a draft follows the sketch

    @property
    def tokens_per_patch(self) -> int:
        return self.patch_tokens**2

    @property
    def head_dim(self) -> int:
        return self.width // self.heads


@dataclass(frozen=True)
class ModelConfig:
    """A whole model; `name` is what GET /models shows."""

    name: str = "tiny"
    description: str = "Layered landscape posters at any size."
    licence: str = "Apache-2.0"
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    transformer: TransformerConfig = field(default_factory=TransformerConfig)

    def __post_init__(self) -> None:
        if (reach := self.tokenizer.halo) > (most := self.transformer.patch_tokens):
            raise ValueError(f"the tokenizer's decoder looks {reach} tokens around, but patches have {most}")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Strict: a missing or unknown key raises ValueError naming it."""
        data = dict(data)
        data["tokenizer"] = _build(TokenizerConfig, data.get("tokenizer", {}), "tokenizer.")
        data["transformer"] = _build(TransformerConfig, data.get("transformer", {}), "transformer.")
        return _build(cls, data, "")

    @property
    def patch_px(self) -> int:
        return self.transformer.patch_tokens * self.tokenizer.factor


def _build(kind: type[_T], data: dict[str, Any], path: str) -> _T:
    known = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
    for key in data:
        if key not in known:
            raise ValueError(f"config.json: unknown key {path}{key}")
    for key in sorted(name for name, f in known.items() if name not in data and not f.metadata.get("optional")):
        raise ValueError(f"config.json: missing key {path}{key}")
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in data.items()})


PRESETS = {
    "tiny": ModelConfig(transformer=TransformerConfig(sketch=True, draft=True)),
    "small": ModelConfig(
        name="small",
        tokenizer=TokenizerConfig(encoder_widths=(96, 256), decoder_widths=(128, 320)),
        transformer=TransformerConfig(width=384, depth=10, heads=8, sketch=True, draft=True),
    ),
    # The paper's size as far as it is known (paper.md 5.1): 256 px patches of 16x16 tokens at f16, some 16,000 codes,
    # width 1280, 0.8 B parameters. A layer here has 14 width^2 weights where theirs has 20, hence 30 layers, not 24.
    "base": ModelConfig(
        name="base",
        tokenizer=TokenizerConfig(
            levels=(8, 8, 8, 6, 5), encoder_widths=(128, 512), decoder_widths=(192, 640), factor=16
        ),
        transformer=TransformerConfig(
            width=1280,
            depth=30,
            heads=20,
            patch_tokens=16,
            extent=(1, 2, 2),
            text_tokens=77,
            text_depth=4,
            sketch=True,
            draft=True,
        ),
    ),
    # For tests: runs in milliseconds.
    "nano": ModelConfig(
        name="nano",
        tokenizer=TokenizerConfig(
            encoder_widths=(8, 16), encoder_blocks=(1, 1), decoder_widths=(8, 16), decoder_blocks=(1, 1)
        ),
        transformer=TransformerConfig(
            width=32,
            depth=2,
            heads=2,
            patch_tokens=4,
            sentence_width=8,
            sentence_depth=1,
            sentence_heads=2,
            text_tokens=8,
            text_depth=1,
            sketch=True,
            draft=True,
        ),
    ),
}
