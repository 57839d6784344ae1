"""The text table: the right shapes, the same bytes twice, like words close together, and a wrong source refused."""

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing
from torch import Tensor
from torch.nn import functional as F

from training.text_table import TABLE, build, principal, quantise, read_table, words_file

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "snow", "##y", "dusk", "lake", "fir", "##s", "sea", "night"]
WIDTH = 16
SHIPPED = Path(__file__).parents[2] / "checkpoints" / "tiny"

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


def word_table() -> Tensor:
    """The input embeddings of a tiny encoder."""
    return torch.randn(len(PIECES), WIDTH, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "encoder"
    folder.mkdir()
    save_file({TABLE: word_table()}, folder / "model.safetensors")
    tokenizer = Tokenizer(WordPiece({piece: i for i, piece in enumerate(PIECES)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    tokenizer.enable_padding(length=6)
    tokenizer.enable_truncation(6)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def sha256(source: Path) -> str:
    return hashlib.sha256((source / "model.safetensors").read_bytes()).hexdigest()


def test_table_has_one_row_per_wordpiece_and_the_dims_asked_for(source: Path, tmp_path: Path) -> None:
    build(source, tmp_path / "out", dims=5, sha256=sha256(source))
    table = load_file(tmp_path / "out" / "text.safetensors")
    assert (table["embeddings"].shape, table["embeddings"].dtype) == ((len(PIECES), 5), torch.int8)
    assert (table["scales"].shape, table["scales"].dtype) == ((len(PIECES),), torch.float32)
    norms = (table["embeddings"].float() * table["scales"][:, None]).norm(dim=1)
    assert norms.mean() == pytest.approx(1, abs=0.01)


def test_with_all_dims_kept_distances_between_pieces_stay(source: Path, tmp_path: Path) -> None:
    build(source, tmp_path / "out", dims=WIDTH, sha256=sha256(source))
    table = load_file(tmp_path / "out" / "text.safetensors")
    got = table["embeddings"].float() * table["scales"][:, None]
    centred = word_table() - word_table().mean(dim=0)
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


def test_a_folder_of_weights_gives_the_table_as_the_built_folder_does(source: Path, tmp_path: Path) -> None:
    build(source, tmp_path / "built", dims=5, sha256=sha256(source))
    built = load_file(tmp_path / "built" / "text.safetensors")
    (tmp_path / "weights").mkdir()
    state = {"text.table": built["embeddings"], "text.scales": built["scales"], "begin": torch.zeros(3)}
    save_file(state, tmp_path / "weights" / "transformer.safetensors")
    for folder in (tmp_path / "built", tmp_path / "weights"):
        table = read_table(folder, 3)
        assert torch.equal(table["embeddings"], built["embeddings"][:, :3])
        assert torch.equal(table["scales"], built["scales"])
    assert words_file(tmp_path / "built").name == "tokenizer.json"
    assert words_file(SHIPPED).name == "words.json"


def test_a_folder_without_a_table_or_with_too_small_a_one_is_an_error_naming_it(source: Path, tmp_path: Path) -> None:
    build(source, tmp_path / "built", dims=5, sha256=sha256(source))
    with pytest.raises(ValueError, match="built has 5 dims, this model needs 6"):
        read_table(tmp_path / "built", 6)
    with pytest.raises(FileNotFoundError, match="nothing holds neither"):
        read_table(tmp_path / "nothing", 6)


def test_landscape_words_of_like_meaning_are_closer_than_other_values_of_the_attribute() -> None:
    """Of the shipped checkpoint, which carries the table."""
    with safe_open(SHIPPED / "transformer.safetensors", "pt") as weights:
        embeddings = weights.get_tensor("text.table")
        scales = weights.get_tensor("text.scales").float()
    tokenizer = Tokenizer.from_file(str(SHIPPED / "words.json"))

    def vector(word: str) -> Tensor:
        ids = tokenizer.encode(word, add_special_tokens=False).ids
        return F.normalize((embeddings[ids].float() * scales[ids, None]).mean(dim=0), dim=0)

    triplets = [triplet.split() for triplet in TRIPLETS.strip().replace("\n", "|").split("|")]
    vectors = [[vector(word) for word in triplet] for triplet in triplets]
    right = sum(bool(anchor @ like > anchor @ other) for anchor, like, other in vectors)
    # Measured 72 of 84; chance is 42 with a standard deviation of 4.6. Antonyms (clear, cloudy) are among its mistakes.
    assert right / len(triplets) >= 0.8
