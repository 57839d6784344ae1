"""A tiny model with random weights: every property tested here holds whatever the weights are."""

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer as WordPieceTokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from model.config import PRESETS
from model.generate import Model
from model.text import WordPieces
from model.tokenizer import Tokenizer
from model.transformer import Transformer


@pytest.fixture(scope="session")
def words_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    names = ["[UNK]", "snowy", "mountains", "at", "sunset", "lake", "forest", "night"]
    tokenizer = WordPieceTokenizer(WordLevel({name: i for i, name in enumerate(names)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    path = tmp_path_factory.mktemp("words") / "words.json"
    tokenizer.save(str(path))
    return path


@pytest.fixture(scope="session")
def model(words_file: Path) -> Model:
    torch.manual_seed(0)
    config = PRESETS["nano"]
    tokenizer, transformer = Tokenizer(config.tokenizer).eval(), Transformer(config).eval()
    with torch.no_grad():
        for part in (tokenizer, transformer):
            for p in part.parameters():
                p.add_(torch.randn_like(p) * 0.2)  # away from the zeros that residual branches start with
        transformer.text.sentence.table.random_(-100, 100)
        transformer.text.sentence.scales.fill_(0.01)
    tokenizer.requires_grad_(False)
    transformer.requires_grad_(False)
    return Model(config, tokenizer, transformer, WordPieces(words_file, config.transformer.text_tokens), "test")
