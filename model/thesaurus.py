"""Words that a model never learned, in words that it did: "oaks by a tarn" is read as "trees by a lake"."""

import json
import re
from functools import lru_cache
from pathlib import Path

LONGEST = 3  # words of an entry
_PIECES = re.compile(r"[^\W\d_]+(?:['-][^\W\d_]+)*|.", re.DOTALL)  # words, and each character between them


class Thesaurus:
    """Looks up what a prompt names: single words and names of up to LONGEST words, in singular or plural."""

    def __init__(self, entries: dict[str, tuple[str, str]]) -> None:
        """entries: a thing, in lower case -> one and several of what it is a kind of."""
        self._entries = entries

    @classmethod
    def read(cls, file: Path) -> "Thesaurus":
        """A file of training/thesaurus.py. Raises ValueError for anything else."""
        try:
            kinds = json.loads(file.read_text(encoding="utf-8"))
            return cls({thing: (one, many) for one, (many, things) in kinds.items() for thing in things})
        except (AttributeError, TypeError, ValueError) as error:
            raise ValueError(f"{file} is not a thesaurus") from error

    def __call__(self, prompt: str) -> str:
        """The prompt with other words where it has some; all else, to the character, stays."""
        pieces, told = _PIECES.findall(prompt), []
        while pieces:
            for count in range(2 * LONGEST - 1, 0, -2):
                if (word := self._other("".join(pieces[:count]).lower())) is not None:
                    break
            else:
                count, word = 1, pieces[0]
            told.append(word)
            del pieces[:count]
        return "".join(told)

    def _other(self, thing: str) -> str | None:
        if thing in self._entries:
            return self._entries[thing][0]
        for singular in singulars(thing):
            if singular in self._entries:
                return self._entries[singular][1]
        return None


@lru_cache(maxsize=4096)
def singulars(thing: str) -> tuple[str, ...]:
    """What a word may be the plural of: oaks, beeches, prairies."""
    endings = (("ies", "y"), ("es", ""), ("s", ""))
    return tuple(thing.removesuffix(end) + instead for end, instead in endings if thing.endswith(end))
