"""Many more words for what captions say (wide_words.toml), so that prompts in words of one's own have neighbours."""

import random
import re
import tomllib
from pathlib import Path

WORDS = Path(__file__).with_suffix(".toml")
_CHOICE = re.compile(r"\{([^{}]*)\}")
_ARTICLE = re.compile(r"\ba (?=[aeiou])")


def _patterns() -> dict[tuple[str, str], list[str]]:
    """(attribute, value) -> patterns in which {a|b|c} stands for one of its words."""
    tables = tomllib.loads(WORDS.read_text(encoding="utf-8"))
    lists = tables.pop("lists")

    def tidy(pattern: str) -> str:
        filled = re.sub(r"@([a-z ]+)", lambda named: lists[named[1]], pattern)
        return re.sub(r"\s*\|\s*", "|", " ".join(filled.split()))

    return {
        (name, value): [tidy(pattern) for pattern in text.split(";")]
        for name, of_values in tables.items()
        for value, text in of_values.items()
    }


PATTERNS = _patterns()


def wide_phrase(name: str, value: str, rng: random.Random) -> str:
    """A phrase for a value of an attribute; KeyError for one that no words tell ("none")."""
    if name == "celestial" and value.endswith("_and_stars"):
        moon, stars = (wide_phrase(name, v, rng) for v in (value.removesuffix("_and_stars"), "stars"))
        return f"{moon} {rng.choice(('and', 'with', 'among', 'beside'))} {stars}"
    filled = _CHOICE.sub(lambda choice: rng.choice(choice[1].split("|")), rng.choice(PATTERNS[name, value]))
    return _ARTICLE.sub("an ", filled)
