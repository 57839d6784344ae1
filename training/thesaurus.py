"""Makes a model's thesaurus (model/thesaurus.py) of WordNet: what is a kind of something that captions know by name.

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
    ("star", 1, "star", "stars"),
    ("dawn", 1, "dawn", "dawn"),
    ("morning", 1, "morning", "morning"),
    ("noon", 1, "noon", "noon"),
    ("sunset", 1, "sunset", "sunset"),
    ("dusk", 1, "dusk", "dusk"),
    ("night", 1, "night", "nights"),
    ("spring", 1, "spring", "spring"),
    ("summer", 1, "summer", "summer"),
    ("autumn", 1, "autumn", "autumn"),
    ("winter", 1, "winter", "winter"),
)
SENSES = 2  # of a word, the most usual ones, of which one must be such a thing: an oak is wood first and a tree second
DEPTH = 6  # steps up from a thing to what it is a kind of
_WORD = re.compile(r"[a-z]+(?:['-][a-z]+)*")


@dataclass(frozen=True)
class Nouns:
    """WordNet's nouns: which senses a lemma has, the most usual first, and what each sense is a kind or instance of."""

    senses: dict[str, tuple[str, ...]]
    above: dict[str, tuple[str, ...]]


def read_nouns(folder: Path) -> Nouns:
    """index.noun and data.noun of a folder of WordNet's database files."""
    senses, above = {}, {}
    for fields in _lines(folder / "index.noun"):
        senses[fields[0].replace("_", " ")] = tuple(fields[-int(fields[2]) :])
    for fields in _lines(folder / "data.noun"):
        pointers = 4 + 2 * int(fields[3], 16)  # after the words of the sense, each with a number
        first, count = pointers + 1, int(fields[pointers])
        kinds = [fields[i : i + 3] for i in range(first, first + 4 * count, 4)]
        above[fields[0]] = tuple(of for sign, of, part in kinds if sign in ("@", "@i") and part == "n")
    return Nouns(senses, above)


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


def build(nouns: Nouns, known: set[str]) -> dict[str, tuple[str, list[str]]]:
    """One -> several, and all things that are so read, in the order of their names."""
    roots = {nouns.senses[lemma][number - 1]: (one, many) for lemma, number, one, many in KINDS}

    @cache
    def kind(sense: str, depth: int) -> tuple[str, str] | None:
        if sense in roots or depth == 0:
            return roots.get(sense)
        return next(filter(None, (kind(above, depth - 1) for above in nouns.above[sense])), None)

    things: dict[str, tuple[str, list[str]]] = {}
    for lemma in sorted(nouns.senses):
        words = lemma.split()
        if len(words) > LONGEST or known.issuperset(words) or not all(map(_WORD.fullmatch, words)):
            continue
        found = next(filter(None, (kind(sense, DEPTH) for sense in nouns.senses[lemma][:SENSES])), None)
        if found is not None:
            things.setdefault(found[0], (found[1], []))[1].append(lemma)
    return things


def main(
    out: Annotated[Path, typer.Option(help="Folder of the weights to write thesaurus.json into.")],
    wordnet: Annotated[Path, typer.Option(help="Folder of WordNet's database files.")] = Path("/usr/share/wordnet"),
) -> None:
    """Write the thesaurus of a model that was trained on the captions of scenes."""
    things = build(read_nouns(wordnet), caption_vocabulary())
    (out / "thesaurus.json").write_text(json.dumps(things, indent=0, ensure_ascii=False) + "\n", encoding="utf-8")
    typer.echo(f"{sum(len(named) for _, named in things.values()):,} things of {len(things)} kinds")


if __name__ == "__main__":
    typer.run(main)
