"""A folder of weights -> a model, and back: config.json, tokenizer.safetensors, transformer.safetensors, words.json.

Strict both ways: a missing, extra or misshapen weight is an error that names it.
"""

import hashlib
import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import nn

from model.config import ModelConfig
from model.generate import Model
from model.text import WordPieces
from model.tokenizer import Tokenizer
from model.transformer import Transformer

CONFIG, WORDS = "config.json", "words.json"
TOKENIZER, TRANSFORMER = "tokenizer.safetensors", "transformer.safetensors"
FILES = (CONFIG, TOKENIZER, TRANSFORMER, WORDS)


class WeightsError(ValueError):
    """The folder does not hold a model: the message names the file, and the weight or key."""


def load(folder: Path, device: torch.device | str = "cpu") -> Model:
    """Read a model, in evaluation mode, float32. Raises WeightsError."""
    digest = hashlib.sha256()
    for name in FILES:
        if not (folder / name).is_file():
            raise WeightsError(f"{folder / name} does not exist")
        digest.update((folder / name).read_bytes())
    try:
        config = ModelConfig.from_dict(json.loads((folder / CONFIG).read_text(encoding="utf-8")))
    except ValueError as error:
        raise WeightsError(f"{folder / CONFIG}: {error}") from error
    tokenizer, transformer = Tokenizer(config.tokenizer), Transformer(config)
    for part, name in ((tokenizer, TOKENIZER), (transformer, TRANSFORMER)):
        _fill(part, folder / name)
        part.to(device).eval().requires_grad_(False)
    tokenizer.to(memory_format=torch.channels_last)
    words = WordPieces(folder / WORDS, config.transformer.text_tokens)
    return Model(config, tokenizer, transformer, words, digest.hexdigest()[:16])


def save(
    folder: Path, config: ModelConfig, tokenizer: Tokenizer, transformer: Transformer, words: Path, half: bool = True
) -> None:
    """Write a model; float weights in 16 bits unless `half` is False. words: the word pieces' file, copied."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, name in ((tokenizer, TOKENIZER), (transformer, TRANSFORMER)):
        state = {}
        for key, value in part.state_dict().items():
            small = half and value.dtype == torch.float32
            state[key] = (value.half() if small else value).contiguous().cpu()
        (folder / name).write_bytes(to_bytes(state))  # save_file would leave a file that only its owner may read
    (folder / CONFIG).write_text(json.dumps(config.to_dict(), indent=2) + "\n", encoding="utf-8")
    if words.resolve() != (folder / WORDS).resolve():
        (folder / WORDS).write_bytes(words.read_bytes())


def _fill(module: nn.Module, file: Path) -> None:
    try:
        state = {k: v.float() if v.dtype == torch.float16 else v for k, v in load_file(file).items()}
    except SafetensorError as error:
        raise WeightsError(f"{file}: {error}") from error
    wanted = module.state_dict()
    if missing := sorted(set(wanted) - set(state)):
        raise WeightsError(f"{file}: missing weights: {', '.join(missing[:5])}{_more(missing)}")
    if extra := sorted(set(state) - set(wanted)):
        raise WeightsError(f"{file}: unknown weights: {', '.join(extra[:5])}{_more(extra)}")
    for key, value in state.items():
        if value.shape != wanted[key].shape:
            raise WeightsError(f"{file}: {key} has shape {tuple(value.shape)}, expected {tuple(wanted[key].shape)}")
        if not value.isfinite().all():
            raise WeightsError(f"{file}: {key} holds values that are not finite")
    module.load_state_dict(state)


def _more(names: list[str]) -> str:
    return f" and {len(names) - 5} more" if len(names) > 5 else ""
