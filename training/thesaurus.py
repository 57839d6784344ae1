"""Makes a model's thesaurus (model/thesaurus.py) of WordNet: what is a kind of something that captions know by name,
or an adjective of it.

    apt install wordnet-base
    python -m training.thesaurus --out checkpoints/tiny

Words that captions have themselves are left alone: the model has learned them. WordNet 3.0 is copyright 2006 by
Princeton University, free for any use with its notice (docs/training.md). File format: wndb(5WN).
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated

import typer

from model.thesaurus import LONGEST, singulars
from training import caption_words
from training.wide_words import PATTERNS

# Nouns of captions: lemma and number of its sense in WordNet (from 1), then one and several of them as captions say it.
KINDS = (
    ("mountain", 1, "mountain", "mountains"),
    ("peak", 4, "peak", "peaks"),
    ("mountain range", 1, "mountain range", "mountains"),
    ("cliff", 1, "cliff", "cliffs"),
    ("hill", 1, "hill", "hills"),
    ("desert", 1, "desert", "deserts"),
    ("dune", 1, "dune", "dunes"),
    ("forest", 1, "forest", "forests"),
    ("forest", 2, "forest", "forests"),
    ("plain", 1, "plain", "plains"),
    ("grassland", 1, "grassland", "grasslands"),
    ("sea", 1, "sea", "seas"),
    ("ocean", 1, "ocean", "oceans"),
    ("wave", 1, "waves", "waves"),
    ("lake", 1, "lake", "lakes"),
    ("conifer", 1, "conifer", "conifers"),
    ("tree", 1, "tree", "trees"),
    ("cloud", 2, "cloud", "clouds"),
    ("fog", 1, "fog", "fog"),
    ("fog", 2, "fog", "fog"),
    ("snow", 1, "snow", "snow"),
    ("sun", 1, "sun", "suns"),
    ("moon", 1, "moon", "moons"),
    ("star", 1, "star", "stars"),
    ("dawn", 1, "dawn", "dawn"),
    ("morning", 1, "morning", "morning"),
    ("noon", 1, "noon", "noon"),
    ("sunset", 1, "sunset", "sunset"),
    ("dusk", 1, "dusk", "dusk"),
    ("evening", 1, "evening", "evenings"),
    ("night", 1, "night", "nights"),
    ("spring", 1, "spring", "spring"),
    ("summer", 1, "summer", "summer"),
    ("autumn", 1, "autumn", "autumn"),
    ("winter", 1, "winter", "winter"),
)
SENSES = 2  # of a word, the most usual ones, of which one must be such a thing: an oak is wood first and a tree second
DEPTH = 6  # steps up from a thing to what it is a kind of
# Pointers from each part of speech to what a noun is a kind or instance of, to what an adjective pertains.
UP = {"noun": ("@", "@i"), "adj": ("\\",), "adv": ()}
_WORD = re.compile(r"[a-z]+(?:['-][a-z]+)*")


@dataclass(frozen=True)
class Words:
    """Senses of lemmas, the most usual first, and what each is a kind or instance of, or pertains to: all are nouns."""

    senses: dict[str, tuple[str, ...]]
    above: dict[str, tuple[str, ...]]


def read_words(folder: Path, part: str) -> Words:
    """Of index and data of a part of speech, one of UP, in a folder of WordNet's database files."""
    senses, above = {}, {}
    for fields in _lines(folder / f"index.{part}"):
        found = fields[-int(fields[2]) :]
        senses[fields[0].replace("_", " ")] = tuple(f"{part} {offset}" for offset in found)
    for fields in _lines(folder / f"data.{part}"):
        pointers = 4 + 2 * int(fields[3], 16)  # after the words of the sense, each with a number
        first, count = pointers + 1, int(fields[pointers])
        kinds = [fields[i : i + 3] for i in range(first, first + 4 * count, 4)]
        above[f"{part} {fields[0]}"] = tuple(f"noun {of}" for sign, of, p in kinds if sign in UP[part] and p == "n")
    return Words(senses, above)


def _lines(file: Path) -> Iterator[list[str]]:
    """Those after the licence, which is indented."""
    for line in file.read_text(encoding="latin-1").splitlines():
        if not line.startswith(" "):
            yield line.split()


def caption_vocabulary() -> set[str]:
    """Every word that a caption may have, in lower case, and what those may be the plural of."""
    tables = [value for name, value in vars(caption_words).items() if name.isupper()]
    words = set(_WORD.findall(json.dumps([tables, list(PATTERNS.values())]).lower()))
    return words.union(*map(singulars, words))


def build(nouns: Words, adjectives: Words, adverbs: Words, known: set[str]) -> dict[str, tuple[str, list[str]]]:
    """One -> several, and all words that are so read, in the order of their names.

    Not adverbs: "even" is seldom an evening.
    """
    roots = {nouns.senses[lemma][number - 1]: (one, many) for lemma, number, one, many in KINDS}
    above = nouns.above | adjectives.above

    @cache
    def kind(sense: str, depth: int) -> tuple[str, str] | None:
        if sense in roots or depth == 0:
            return roots.get(sense)
        return next(filter(None, (kind(of, depth - 1) for of in above[sense])), None)

    things: dict[str, tuple[str, list[str]]] = {}
    for lemma in sorted(nouns.senses | adjectives.senses):
        words = lemma.split()
        other = lemma in adverbs.senses or known.issuperset(words)
        if len(words) > LONGEST or other or not all(map(_WORD.fullmatch, words)):
            continue
        usual = [sense for part in (nouns, adjectives) for sense in part.senses.get(lemma, ())[:SENSES]]
        found = next(filter(None, (kind(sense, DEPTH) for sense in usual)), None)
        if found is not None:
            things.setdefault(found[0], (found[1], []))[1].append(lemma)
    return things


def main(
    out: Annotated[Path, typer.Option(help="Folder of the weights to write thesaurus.json into.")],
    wordnet: Annotated[Path, typer.Option(help="Folder of WordNet's database files.")] = Path("/usr/share/wordnet"),
) -> None:
    """Write the thesaurus of a model that was trained on the captions of scenes."""
    things = build(*(read_words(wordnet, part) for part in UP), caption_vocabulary())
    (out / "thesaurus.json").write_text(json.dumps(things, indent=0, ensure_ascii=False) + "\n", encoding="utf-8")
    typer.echo(f"{sum(len(named) for _, named in things.values()):,} words for {len(things)} kinds of things")


if __name__ == "__main__":
    typer.run(main)
