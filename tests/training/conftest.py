"""Reading captions back: which attributes the words of training/caption_words.py tell."""

import re
from collections.abc import Callable

import pytest

from training import caption_words as tables
from training.attributes import ATTRIBUTE_VALUES


def _phrases() -> dict[str, set[tuple[str, str]]]:
    """Phrase -> the attributes and values that it tells, several where it is ambiguous."""
    said: list[tuple[str, str, str]] = []
    named = {
        "time_of_day": (tables.TIME, tables.TIME_NOUN),
        "season": (tables.SEASON,),
        "water": (tables.WATER, tables.BY_WATER),
        "trees": (tables.TREES,),
        "clouds": (tables.CLOUDS,),
        "celestial": (tables.CELESTIAL, tables.SHINES),
    }
    for name, of_values in named.items():
        for table in of_values:
            said += [(phrase, name, value) for value, phrases in table.items() for phrase in phrases]
    said += [(noun, "terrain", value) for value, nouns in tables.TERRAIN.items() for _, noun in nouns]
    for value, nouns in tables.KIND_OF_FOREST.items():
        said += [(noun, name, v) for _, noun in nouns for name, v in (("terrain", "forest"), ("trees", value))]
    said += [(word, "snow", "snow") for word in (*tables.SNOWY, "snow")]
    said += [(word, "mist", "mist") for word in (*tables.MISTY, *tables.MIST)]
    said += [(word, "season", word) for word in ATTRIBUTE_VALUES["season"]]
    said += [("autumnal", "season", "autumn"), ("wintry", "season", "winter")]
    told: dict[str, set[tuple[str, str]]] = {}
    for phrase, name, value in said:
        told.setdefault(re.sub(r"^(the|a|an) ", "", phrase.lower()), set()).add((name, value))
    for frame in (*tables.FRAMES, *tables.STYLES):
        told.setdefault(frame.replace("{}", "").strip(" :"), set())  # "a landscape with" tells nothing
    return told


TOLD = _phrases()
PATTERN = re.compile(r"\b(" + "|".join(re.escape(p) for p in sorted(TOLD, key=len, reverse=True)) + r")\b")


@pytest.fixture(scope="session")
def read_caption() -> Callable[[str], dict[str, set[str]]]:
    """A function: caption -> attribute -> the values that its words can mean, at each place the longest phrase."""

    def read(text: str) -> dict[str, set[str]]:
        told: dict[str, set[str]] = {}
        for phrase in PATTERN.findall(text.lower()):
            for name, value in TOLD[phrase]:
                told.setdefault(name, set()).add(value)
        return told

    return read
