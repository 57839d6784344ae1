"""A tiny model with random weights, and a judge that reads colours: what is tested here holds whatever they are."""

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer as WordPieceTokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from torch import Tensor

from model.config import PRESETS
from model.generate import Model
from model.text import WordPieces
from model.tokenizer import Tokenizer
from model.transformer import Transformer
from training.attributes import ATTRIBUTE_VALUES
from training.evaluation.setting import Counts, Setting


class ColourReader:
    """Reads every attribute off the mean brightness; its features are mean colours of 4x4 places."""

    def features(self, pixels: Tensor) -> Tensor:
        return torch.nn.functional.adaptive_avg_pool2d(pixels, 4).flatten(1)

    def predict(self, pixels: Tensor) -> list[dict[str, str]]:
        bright = ((pixels.mean((1, 2, 3)) + 1) / 2).clamp(0, 0.999)
        return [{name: values[int(b * len(values))] for name, values in ATTRIBUTE_VALUES.items()} for b in bright]


@pytest.fixture(scope="session")
def words_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    words = WordPieceTokenizer(WordLevel({"[UNK]": 0, "snowy": 1, "mountains": 2}, unk_token="[UNK]"))
    words.pre_tokenizer = Whitespace()
    file = tmp_path_factory.mktemp("words") / "words.json"
    words.save(str(file))
    return file


@pytest.fixture(scope="session")
def model(words_file: Path) -> Model:
    torch.manual_seed(0)
    config = PRESETS["nano"]
    tokenizer, transformer = Tokenizer(config.tokenizer).eval(), Transformer(config).eval()
    with torch.no_grad():
        for part in (tokenizer, transformer):
            for p in part.parameters():
                p.add_(torch.randn_like(p) * 0.2)
        transformer.text.sentence.table.random_(-100, 100)
        transformer.text.sentence.scales.fill_(0.01)
    tokenizer.requires_grad_(False)
    transformer.requires_grad_(False)
    return Model(config, tokenizer, transformer, WordPieces(words_file, config.transformer.text_tokens), "test")


@pytest.fixture
def setting(model: Model, tmp_path: Path) -> Setting:
    return Setting(model, tmp_path, lambda device: ColourReader(), Counts(4), slots=8)
