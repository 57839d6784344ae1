"""The text table: the right shapes, the same bytes twice, like words close together, and a wrong source refused."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing
from torch import Tensor
from torch.nn import functional as F

from training.text_table import bert, build, principal, quantise

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "snow", "##y", "dusk", "lake", "fir", "##s", "sea", "night"]
WIDTH, HEADS, LAYERS, EPS = 16, 4, 2, 1e-12
BUILT = Path(__file__).parents[2] / "data" / "text"

# word, a word of like meaning, a word for another value of the same attribute
TRIPLETS = """
dusk evening morning | dusk sunset noon | twilight dusk midday | sundown sunset sunrise | evening twilight dawn
nightfall evening morning | dawn sunrise sunset | daybreak dawn dusk | sunrise morning evening | midnight night noon
night midnight morning | noon midday midnight | tarn lake desert | lake pond mountain | lagoon lake hill
loch lake forest | reservoir lake dune | pond lake cliff | ocean sea desert | sea ocean mountain
waves sea hills | shore coast peak | beach coast forest | river stream dune | powder snow rain
snowy wintry summery | snow ice sand | frosty icy sunny | blizzard snow sunshine | frozen icy hot
firs pines dunes | firs trees waves | woods forest desert | conifers pines clouds | spruce pine sand
grove trees lake | peaks mountains lakes | summit peak valley | alps mountains dunes | crags cliffs waves
ridge mountains sea | hills slopes ocean | autumn fall spring | autumnal fall spring | winter snow summer
summer sunny winter | blossom spring winter | spring blossoms snow | misty foggy clear | fog mist sunshine
hazy misty clear | haze fog snow | murky foggy clear | cloudy overcast clear | clear cloudless cloudy
overcast clouds stars | stormy thunder calm | rainy drizzle sunny | calm still stormy | sunny sunlit rainy
starry stars clouds | starlit stars sun | constellations stars clouds | moonlit moon sun | moonlight moon sun
crescent moon sun | dunes desert forest | sandy desert snowy | sahara desert lake | meadow grassland desert
barren desert forest | verdant green barren | crimson red blue | scarlet red green | turquoise blue red
azure blue orange | emerald green purple | golden yellow blue | violet purple green | lavender purple orange
teal blue red | amber orange blue | rosy pink green | grey gray red
"""


def random_bert() -> dict[str, Tensor]:
    """Weights of a tiny encoder, under the names of the real one."""
    generator = torch.Generator().manual_seed(1)

    def linear(name: str, rows: int, columns: int) -> dict[str, Tensor]:
        return {
            f"{name}.weight": torch.randn(rows, columns, generator=generator) / columns**0.5,
            f"{name}.bias": torch.randn(rows, generator=generator) / 10,
        }

    def norm(name: str) -> dict[str, Tensor]:
        return {
            f"{name}.weight": 1 + torch.randn(WIDTH, generator=generator) / 10,
            f"{name}.bias": torch.randn(WIDTH, generator=generator) / 10,
        }

    weights = norm("embeddings.LayerNorm")
    for name, rows in (("word", len(PIECES)), ("position", 8), ("token_type", 2)):
        weights[f"embeddings.{name}_embeddings.weight"] = torch.randn(rows, WIDTH, generator=generator)
    for layer in range(LAYERS):
        prefix = f"encoder.layer.{layer}"
        for part in ("query", "key", "value"):
            weights |= linear(f"{prefix}.attention.self.{part}", WIDTH, WIDTH)
        weights |= linear(f"{prefix}.attention.output.dense", WIDTH, WIDTH)
        weights |= norm(f"{prefix}.attention.output.LayerNorm")
        weights |= linear(f"{prefix}.intermediate.dense", 2 * WIDTH, WIDTH)
        weights |= linear(f"{prefix}.output.dense", WIDTH, 2 * WIDTH)
        weights |= norm(f"{prefix}.output.LayerNorm")
    return weights


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "encoder"
    folder.mkdir()
    save_file(random_bert(), folder / "model.safetensors")
    config = {
        "vocab_size": len(PIECES),
        "hidden_size": WIDTH,
        "num_attention_heads": HEADS,
        "num_hidden_layers": LAYERS,
        "layer_norm_eps": EPS,
    }
    (folder / "config.json").write_text(json.dumps(config))
    tokenizer = Tokenizer(WordPiece({piece: i for i, piece in enumerate(PIECES)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    tokenizer.enable_padding(length=6)
    tokenizer.enable_truncation(6)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def sha256(source: Path) -> str:
    return hashlib.sha256((source / "model.safetensors").read_bytes()).hexdigest()


def with_torch_layers(weights: dict[str, Tensor], ids: Tensor) -> Tensor:
    """The same encoder from torch's own layers, as an oracle."""
    x = weights["embeddings.word_embeddings.weight"][ids]
    x = x + weights["embeddings.position_embeddings.weight"][: ids.shape[1]]
    x = x + weights["embeddings.token_type_embeddings.weight"][0]
    x = F.layer_norm(x, (WIDTH,), weights["embeddings.LayerNorm.weight"], weights["embeddings.LayerNorm.bias"], EPS)
    theirs = {
        "attention.output.dense": "self_attn.out_proj",
        "attention.output.LayerNorm": "norm1",
        "intermediate.dense": "linear1",
        "output.dense": "linear2",
        "output.LayerNorm": "norm2",
    }
    for number in range(LAYERS):
        layer = torch.nn.TransformerEncoderLayer(WIDTH, HEADS, 2 * WIDTH, 0.0, "gelu", EPS, batch_first=True).eval()
        prefix = f"encoder.layer.{number}."
        state = {
            f"{new}.{kind}": weights[f"{prefix}{old}.{kind}"]
            for old, new in theirs.items()
            for kind in ("weight", "bias")
        }
        for kind in ("weight", "bias"):
            parts = [weights[f"{prefix}attention.self.{part}.{kind}"] for part in ("query", "key", "value")]
            state[f"self_attn.in_proj_{kind}"] = torch.cat(parts)
        layer.load_state_dict(state)
        x = layer(x)
    return x


def test_bert_equals_the_same_encoder_from_torch_layers() -> None:
    weights, ids = random_bert(), torch.tensor([[2, 4, 5, 3], [2, 9, 8, 3]])
    torch.testing.assert_close(bert(weights, HEADS, LAYERS, EPS, ids), with_torch_layers(weights, ids))


def test_table_has_one_row_per_wordpiece_and_the_dims_asked_for(source: Path, tmp_path: Path) -> None:
    build(source, tmp_path / "out", dims=5, sha256=sha256(source))
    table = load_file(tmp_path / "out" / "text.safetensors")
    assert (table["embeddings"].shape, table["embeddings"].dtype) == ((len(PIECES), 5), torch.int8)
    assert (table["scales"].shape, table["scales"].dtype) == ((len(PIECES),), torch.float32)
    norms = (table["embeddings"].float() * table["scales"][:, None]).norm(dim=1)
    assert norms.mean() == pytest.approx(1, abs=0.01)


def test_table_holds_the_encoder_mean_over_each_piece_between_cls_and_sep(source: Path, tmp_path: Path) -> None:
    build(source, tmp_path / "out", dims=WIDTH, sha256=sha256(source))
    table = load_file(tmp_path / "out" / "text.safetensors")
    got = table["embeddings"].float() * table["scales"][:, None]
    ids = torch.tensor([[2, piece, 3] for piece in range(len(PIECES))])
    means = with_torch_layers(random_bert(), ids).mean(dim=1).detach()
    centred = means - means.mean(dim=0)
    expected = centred / centred.norm(dim=1).mean()
    # With all dims kept PCA is a rotation: distances stay, up to the 8-bit rounding.
    torch.testing.assert_close(torch.cdist(got, got), torch.cdist(expected, expected), atol=0.02, rtol=0)


def test_same_source_gives_the_same_bytes(source: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        build(source, tmp_path / name, dims=5, sha256=sha256(source))
    for file in ("text.safetensors", "tokenizer.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_sign_of_a_principal_direction_does_not_depend_on_the_order_of_rows() -> None:
    table = torch.randn(50, 8, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(principal(table.flip(0), 4).flip(0), principal(table, 4))


def test_quantised_rows_are_within_half_a_step_and_a_zero_row_stays_zero() -> None:
    table = torch.cat([torch.randn(20, 8, generator=torch.Generator().manual_seed(4)), torch.zeros(1, 8)])
    embeddings, scales = quantise(table)
    assert torch.all((embeddings.float() * scales[:, None] - table).abs() <= 0.501 * scales[:, None])
    assert torch.all(embeddings[-1] == 0)


def test_written_tokenizer_neither_pads_nor_truncates(source: Path, tmp_path: Path) -> None:
    build(source, tmp_path / "out", dims=5, sha256=sha256(source))
    tokenizer = Tokenizer.from_file(str(tmp_path / "out" / "tokenizer.json"))
    assert tokenizer.encode("dusk").tokens == ["[CLS]", "dusk", "[SEP]"]
    assert len(tokenizer.encode("snowy lake " * 100).ids) == 302


def test_another_source_file_is_refused_by_name_and_nothing_is_written(source: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"model\.safetensors is not the file"):
        build(source, tmp_path / "out", dims=5)
    assert not (tmp_path / "out").exists()


def test_more_dims_than_the_encoder_is_wide_are_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"dims is 17; .* allows 1 to 16"):
        build(source, tmp_path / "out", dims=WIDTH + 1, sha256=sha256(source))


@pytest.mark.skipif(not BUILT.exists(), reason="needs data/text; build it with python -m training.text_table")
def test_landscape_words_of_like_meaning_are_closer_than_other_values_of_the_attribute() -> None:
    table = load_file(BUILT / "text.safetensors")
    tokenizer = Tokenizer.from_file(str(BUILT / "tokenizer.json"))

    def vector(word: str) -> Tensor:
        ids = tokenizer.encode(word, add_special_tokens=False).ids
        return F.normalize((table["embeddings"][ids].float() * table["scales"][ids, None]).mean(dim=0), dim=0)

    triplets = [triplet.split() for triplet in TRIPLETS.strip().replace("\n", "|").split("|")]
    vectors = [[vector(word) for word in triplet] for triplet in triplets]
    right = sum(bool(anchor @ like > anchor @ other) for anchor, like, other in vectors)
    # Measured 72 of 84; chance is 42 with a standard deviation of 4.6. Antonyms (clear, cloudy) are among its mistakes.
    assert right / len(triplets) >= 0.8
