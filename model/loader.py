"""A folder of weights -> a model, and back: config.json, words.json and three files of weights, four with a sketcher.

There may be a thesaurus.json for words that are in no caption.

The frozen sentence encoder has a file of its own: it is most of the bytes and the same for every training.
Strict both ways: a missing, extra or misshapen weight is an error that names it.
"""

import hashlib
import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from model.config import ModelConfig
from model.generate import Model
from model.sketching import Sketcher
from model.text import WordPieces
from model.thesaurus import Thesaurus
from model.tokenizer import Tokenizer
from model.transformer import Transformer

CONFIG, WORDS = "config.json", "words.json"
TOKENIZER, TRANSFORMER, SENTENCE = "tokenizer.safetensors", "transformer.safetensors", "sentence.safetensors"
SKETCHER = "sketcher.safetensors"  # where the transformer reads sketches
THESAURUS = "thesaurus.json"  # where there is one
FILES = (CONFIG, TOKENIZER, TRANSFORMER, SENTENCE, WORDS)
_APART = "text.sentence."  # what of the transformer's state is in SENTENCE


class WeightsError(ValueError):
    """The folder does not hold a model: the message names the file, and the weight or key."""


def load(folder: Path, device: torch.device | str = "cpu") -> Model:
    """Read a model, in evaluation mode, float32. Raises WeightsError."""
    digest = hashlib.sha256()
    for name in FILES:
        digest.update(_read(folder / name))
    try:
        config = ModelConfig.from_dict(json.loads((folder / CONFIG).read_text(encoding="utf-8")))
    except ValueError as error:
        raise WeightsError(f"{folder / CONFIG}: {error}") from error
    tokenizer, transformer = Tokenizer(config.tokenizer), Transformer(config)
    sketcher = Sketcher(config) if config.transformer.sketch else None
    if sketcher is not None:
        digest.update(_read(folder / SKETCHER))
    for part, name in _parts(tokenizer, transformer, sketcher):
        _fill(part, folder / name)
        part.to(device).eval().requires_grad_(False)
    if sketcher is not None:
        sketcher.text.sentence = transformer.text.sentence
    tokenizer.to(memory_format=torch.channels_last)
    thesaurus = None
    if (folder / THESAURUS).is_file():
        digest.update(_read(folder / THESAURUS))
        try:
            thesaurus = Thesaurus.read(folder / THESAURUS)
        except ValueError as error:
            raise WeightsError(str(error)) from error
    words = WordPieces(folder / WORDS, config.transformer.text_tokens, thesaurus)
    return Model(config, tokenizer, transformer, words, digest.hexdigest()[:16], sketcher)


def save(
    folder: Path,
    config: ModelConfig,
    tokenizer: Tokenizer,
    transformer: Transformer,
    words: Path,
    sketcher: Sketcher | None = None,
    half: bool = True,
) -> None:
    """Write a model; float weights in 16 bits unless `half` is False. words: the word pieces' file, copied.

    Raises ValueError for a transformer that reads sketches without a sketcher.
    """
    if config.transformer.sketch and sketcher is None:
        raise ValueError("this transformer reads sketches: it needs a sketcher that draws them")
    folder.mkdir(parents=True, exist_ok=True)
    for part, name in _parts(tokenizer, transformer, sketcher):
        state = {}
        for key, value in _own_state(part).items():
            small = half and value.dtype == torch.float32
            state[key] = (value.half() if small else value).contiguous().cpu()
        (folder / name).write_bytes(to_bytes(state))  # save_file would leave a file that only its owner may read
    (folder / CONFIG).write_text(json.dumps(config.to_dict(), indent=2) + "\n", encoding="utf-8")
    if words.resolve() != (folder / WORDS).resolve():
        (folder / WORDS).write_bytes(words.read_bytes())


def _parts(tokenizer: Tokenizer, transformer: Transformer, sketcher: Sketcher | None) -> list[tuple[nn.Module, str]]:
    parts = [(tokenizer, TOKENIZER), (transformer, TRANSFORMER), (transformer.text.sentence, SENTENCE)]
    return parts if sketcher is None else [*parts, (sketcher, SKETCHER)]


def _read(file: Path) -> bytes:
    if not file.is_file():
        raise WeightsError(f"{file} does not exist")
    return file.read_bytes()


def _own_state(module: nn.Module) -> dict[str, Tensor]:
    return {key: value for key, value in module.state_dict().items() if not key.startswith(_APART)}


def _fill(module: nn.Module, file: Path) -> None:
    try:
        state = {k: v.float() if v.dtype == torch.float16 else v for k, v in load_file(file).items()}
    except SafetensorError as error:
        raise WeightsError(f"{file}: {error}") from error
    wanted = _own_state(module)
    if missing := sorted(set(wanted) - set(state)):
        raise WeightsError(f"{file}: missing weights: {', '.join(missing[:5])}{_more(missing)}")
    if extra := sorted(set(state) - set(wanted)):
        raise WeightsError(f"{file}: unknown weights: {', '.join(extra[:5])}{_more(extra)}")
    for key, value in state.items():
        if value.shape != wanted[key].shape:
            raise WeightsError(f"{file}: {key} has shape {tuple(value.shape)}, expected {tuple(wanted[key].shape)}")
        if not value.isfinite().all():
            raise WeightsError(f"{file}: {key} holds values that are not finite")
    module.load_state_dict(state, strict=False)  # the keys were compared above


def _more(names: list[str]) -> str:
    return f" and {len(names) - 5} more" if len(names) > 5 else ""
