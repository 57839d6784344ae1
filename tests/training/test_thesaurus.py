"""A thesaurus is made of WordNet's files, and leaves alone what captions say."""

from pathlib import Path

import pytest

from model.loader import THESAURUS
from model.thesaurus import Thesaurus
from training import thesaurus
from training.evaluation.prompts import evaluation_prompts, swapped_prompts
from training.thesaurus import Nouns, build, caption_vocabulary, read_nouns

SHIPPED = Path(__file__).parents[2] / "checkpoints" / "tiny" / THESAURUS
# As WordNet 3.0 has them, with two of the pointers; the licence above is indented.
INDEX = """\
  1 This software and database is being provided
lake n 3 5 @ ~ #m %m + 3 1 09328904 14845743 14815173
tarn n 1 1 @ 1 0 09452653
oak_tree n 1 3 @ ~ #m 1 0 12268246
"""
DATA = """\
  1 This software and database is being provided
09328904 17 n 01 lake 0 002 @ 09225146 n 0000 ~ 09452653 n 0000 | a body of (usually fresh) water surrounded by land
09452653 17 n 01 tarn 0 001 @ 09328904 n 0000 | a mountain lake (especially one formed by glaciers)
12268246 20 n 02 oak 1 oak_tree 0 002 @ 13104059 n 0000 #m 12267411 n 0000 | a deciduous tree
"""


def test_wordnets_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "index.noun").write_text(INDEX, encoding="latin-1")
    (tmp_path / "data.noun").write_text(DATA, encoding="latin-1")
    nouns = read_nouns(tmp_path)
    assert nouns.senses["lake"] == ("09328904", "14845743", "14815173")
    assert nouns.senses["oak tree"] == ("12268246",)
    assert nouns.above["09452653"] == ("09328904",)
    assert nouns.above["12268246"] == ("13104059",)


def test_things_are_found_below_their_kind_but_not_known_ones_nor_rare_senses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thesaurus, "KINDS", (("lake", 1, "lake", "lakes"), ("tree", 1, "tree", "trees")))
    nouns = Nouns(
        senses={
            "lake": ("L",), "tree": ("T",), "tarn": ("tarn",), "mountain tarn": ("small",), "pool": ("pool",),
            "oak": ("wood", "oak"), "orange": ("fruit", "colour", "oak"), "of": ("tarn",), "4th": ("tarn",),
        },
        above={
            "L": (), "T": (), "tarn": ("L",), "small": ("tarn",), "pool": ("L",), "wood": (), "oak": ("T",),
            "fruit": (), "colour": (),
        },
    )  # fmt: skip
    things = build(nouns, {"lake", "tree", "pool", "of"})
    assert things == {"lake": ("lakes", ["mountain tarn", "tarn"]), "tree": ("trees", ["oak"])}


def test_the_shipped_thesaurus_changes_no_caption() -> None:
    read = Thesaurus.read(SHIPPED)
    for prompt in evaluation_prompts():
        assert prompt.kind == "unseen" or read(prompt.prompt) == prompt.prompt
    for pair in swapped_prompts():
        assert all(read(prompt.prompt) == prompt.prompt for prompt in pair)
    known = caption_vocabulary()
    assert {"lake", "larch", "tamaracks"} <= known
    assert all(read(word) == word for word in known)
