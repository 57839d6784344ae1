"""A thesaurus is made of WordNet's files, and leaves alone what captions say."""

from pathlib import Path

import pytest

from model.loader import THESAURUS
from model.thesaurus import Thesaurus
from training import thesaurus
from training.evaluation.prompts import evaluation_prompts, swapped_prompts
from training.thesaurus import Words, build, caption_vocabulary, read_words

SHIPPED = Path(__file__).parents[2] / "checkpoints" / "tiny" / THESAURUS
# As WordNet 3.0 has them, with two of the pointers; the licence above is indented.
FILES = {
    "index.noun": """\
  1 This software and database is being provided
lake n 3 5 @ ~ #m %m + 3 1 09328904 14845743 14815173
tarn n 1 1 @ 1 0 09452653
oak_tree n 1 3 @ ~ #m 1 0 12268246
""",
    "data.noun": """\
  1 This software and database is being provided
09328904 17 n 01 lake 0 002 @ 09225146 n 0000 ~ 09452653 n 0000 | a body of (usually fresh) water surrounded by land
09452653 17 n 01 tarn 0 001 @ 09328904 n 0000 | a mountain lake (especially one formed by glaciers)
12268246 20 n 02 oak 1 oak_tree 0 002 @ 13104059 n 0000 #m 12267411 n 0000 | a deciduous tree
""",
    "index.adj": """\
  1 This software and database is being provided
nocturnal a 2 3 ! \\ ; 2 1 00678923 02931827
""",
    "data.adj": """\
  1 This software and database is being provided
00678923 00 a 01 nocturnal 0 002 ;c 06037666 n 0000 ! 00678666 a 0101 | belonging to or active during the night
02931827 01 a 01 nocturnal 1 001 \\ 15167027 n 0101 | of or relating to or occurring in the night
""",
}


def test_wordnets_files_are_read(tmp_path: Path) -> None:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="latin-1")
    nouns, adjectives = read_words(tmp_path, "noun"), read_words(tmp_path, "adj")
    assert nouns.senses["lake"] == ("noun 09328904", "noun 14845743", "noun 14815173")
    assert nouns.senses["oak tree"] == ("noun 12268246",)
    assert nouns.above["noun 09452653"] == ("noun 09328904",)
    assert nouns.above["noun 12268246"] == ("noun 13104059",)
    assert adjectives.senses["nocturnal"] == ("adj 00678923", "adj 02931827")
    assert adjectives.above["adj 00678923"] == ()
    assert adjectives.above["adj 02931827"] == ("noun 15167027",)


def test_things_are_found_below_their_kind_and_adjectives_but_not_known_ones_nor_rare_senses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(thesaurus, "KINDS", (("lake", 1, "lake", "lakes"), ("tree", 1, "tree", "trees")))
    nouns = Words(
        senses={
            "lake": ("L",), "tree": ("T",), "tarn": ("tarn",), "mountain tarn": ("small",), "pool": ("pool",),
            "oak": ("wood", "oak"), "orange": ("fruit", "colour", "oak"), "of": ("tarn",), "4th": ("tarn",),
            "even": ("tarn",),
        },
        above={
            "L": (), "T": (), "tarn": ("L",), "small": ("tarn",), "pool": ("L",), "wood": (), "oak": ("T",),
            "fruit": (), "colour": (),
        },
    )  # fmt: skip
    adjectives = Words(senses={"lacustrine": ("of lakes",), "woody": ("hard",)}, above={"of lakes": ("L",), "hard": ()})
    adverbs = Words(senses={"even": ("evenly",)}, above={"evenly": ()})
    things = build(nouns, adjectives, adverbs, {"lake", "tree", "pool", "of"})
    assert things == {"lake": ("lakes", ["lacustrine", "mountain tarn", "tarn"]), "tree": ("trees", ["oak"])}


def test_the_shipped_thesaurus_changes_no_caption() -> None:
    read = Thesaurus.read(SHIPPED)
    for prompt in evaluation_prompts():
        assert prompt.kind == "unseen" or read(prompt.prompt) == prompt.prompt
    for pair in swapped_prompts():
        assert all(read(prompt.prompt) == prompt.prompt for prompt in pair)
    known = caption_vocabulary()
    assert {"lake", "larch", "tamaracks"} <= known
    assert all(read(word) == word for word in known)
