"""Words that no caption has are read as words that captions have; all others stay as they are."""

import json
import shutil
from pathlib import Path

import pytest

from model.generate import Model
from model.loader import THESAURUS, WeightsError, load
from model.thesaurus import Thesaurus

SHIPPED = Path(__file__).parents[2] / "checkpoints" / "tiny"
KINDS = {
    "lake": ("lakes", ["tarn", "lake baikal"]),
    "tree": ("trees", ["oak", "beech", "oak of jerusalem"]),
    "grassland": ("grasslands", ["prairie"]),
}


@pytest.fixture
def thesaurus(tmp_path: Path) -> Thesaurus:
    (tmp_path / "t.json").write_text(json.dumps(KINDS))
    return Thesaurus.read(tmp_path / "t.json")


@pytest.mark.parametrize(
    ("prompt", "read"),
    [
        ("Oaks by a tarn, at 5 a.m.", "trees by a lake, at 5 a.m."),
        ("beeches on  prairies\n(Lake Baikal)", "trees on  grasslands\n(lake)"),
        ("an oak of Jerusalem", "an tree"),
        ("soaks, tarns' edge; the tarnished", "soaks, lakes' edge; the tarnished"),
        ("", ""),
        ("ぶな 🌲 naïve", "ぶな 🌲 naïve"),
    ],
)
def test_things_are_read_as_what_they_are_a_kind_of(thesaurus: Thesaurus, prompt: str, read: str) -> None:
    assert thesaurus(prompt) == read


def test_long_prompts_of_any_kind_take_no_time(thesaurus: Thesaurus) -> None:
    for prompt in ("oak of " * 600, "'" * 2000, "s" * 2000, "-a" * 1000):
        assert len(thesaurus(prompt)) > 500


def test_a_model_reads_with_the_thesaurus_in_its_folder(weights: Path, model: Model, tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    shutil.copytree(weights, folder)
    (folder / THESAURUS).write_text(json.dumps({"lake": ("lakes", ["tarn"])}))
    taught = load(folder)
    assert taught.words(["snowy tarn"]).tolist() == taught.words(["snowy lake"]).tolist()
    assert model.words(["snowy tarn"]).tolist() != model.words(["snowy lake"]).tolist()
    assert taught.version != load(weights).version
    for broken in ("[]", "{", '{"lake": 3}', '{"lake": ["lakes", [["tarn"]]]}'):
        (folder / THESAURUS).write_text(broken)
        with pytest.raises(WeightsError, match=THESAURUS):
            load(folder)


def test_the_shipped_one_knows_what_landscapes_are_made_of() -> None:
    thesaurus = Thesaurus.read(SHIPPED / THESAURUS)
    assert thesaurus("a crag, a steppe, a loch") == "a cliff, a plain, a lake"
    assert thesaurus("spruces and maples") == "conifers and trees"
    assert thesaurus("a lunar glow, nocturnal and even") == "a moon glow, night and even"
    assert thesaurus("an orange sky, a plane above the crater") == "an orange sky, a plane above the crater"
