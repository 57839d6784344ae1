"""The prompts that generated pictures are judged by, and what each of them says that the picture must show."""

import csv
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from model.attributes import ATTRIBUTE_VALUES
from training.attributes import Attributes, sample_attributes
from training.captions import caption, told
from training.datasets import HELD_OUT_SEEDS
from training.evaluation.lexicon import PLAIN, UNSEEN

PER_KIND = 250
PAIRS = 50
# Attributes that are swapped with one another; both are in sight in every picture.
SWAPPED = (
    ("time_of_day", "terrain"),
    ("time_of_day", "season"),
    ("season", "terrain"),
    ("time_of_day", "trees"),
    ("clouds", "terrain"),
)
DRAWS = 500  # scenes drawn before values are taken never to go together


@dataclass(frozen=True)
class EvaluationPrompt:
    """Words, and the attributes they state: name -> value of ATTRIBUTE_VALUES. What they leave open is not judged.

    A moon or stars that are named are meant to be all there is in the sky: the moon with stars is a value of its own.
    """

    prompt: str
    expected: dict[str, str]
    kind: Literal["caption", "unseen", "given"]


def evaluation_prompts() -> list[EvaluationPrompt]:
    """500 prompts, always the same: 250 in the words of the training captions, then 250 in words foreign to them."""
    return [
        *_distinct(lambda i: _as_caption(_drawn("caption", i), HELD_OUT_SEEDS + i)),
        *_distinct(lambda i: _in_unseen_words(_drawn("unseen", i), random.Random(f"unseen words {i}"))),
    ]


def swapped_prompts() -> list[tuple[EvaluationPrompt, EvaluationPrompt]]:
    """50 pairs of prompts, always the same, in caption words: two scenes with two of their values exchanged.

    From 'dunes at night' and 'a forest at sunset' come 'dunes at sunset' and 'a forest at night': a picture that
    follows what usually goes together, instead of the words, is found out. Both prompts of a pair can be true of a
    rendered scene.
    """
    rng = random.Random("swapped prompts")
    pairs: list[tuple[EvaluationPrompt, EvaluationPrompt]] = []
    while len(pairs) < PAIRS:
        fields = SWAPPED[len(pairs) % len(SWAPPED)]
        first, second = (asdict(sample_attributes(rng)) for _ in range(2))
        if any(first[f] == second[f] or first[f] not in PLAIN[f] or second[f] not in PLAIN[f] for f in fields):
            continue
        crossed = [{fields[0]: a[fields[0]], fields[1]: b[fields[1]]} for a, b in ((first, second), (second, first))]
        pair = _plainly(crossed[0]), _plainly(crossed[1])
        if pair not in pairs and all(_goes_together(values) for values in crossed):
            pairs.append(pair)
    return pairs


def read_prompts_csv(path: Path) -> list[EvaluationPrompt]:
    """Anyone's prompts: a column `prompt`, and any of the attributes as further columns; an empty cell is not judged.

    Raises ValueError, naming the row and the column or value, for anything else.
    """
    prompts = []
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file, strict=True)
        columns = list(reader.fieldnames or [])
        if "prompt" not in columns:
            raise ValueError(f"{path}, row 1: there is no column 'prompt'")
        for column in columns:
            if column != "prompt" and column not in ATTRIBUTE_VALUES:
                raise ValueError(f"{path}, row 1: unknown column {column!r}; known are {', '.join(ATTRIBUTE_VALUES)}")
        for number, row in enumerate(reader, start=2):
            if None in row or None in row.values():
                raise ValueError(f"{path}, row {number}: has more or fewer cells than the first row")
            cells = {name: value.strip() for name, value in row.items()}
            if not cells["prompt"]:
                raise ValueError(f"{path}, row {number}: the prompt is empty")
            expected = {name: value for name, value in cells.items() if name != "prompt" and value}
            for name, value in expected.items():
                if value not in ATTRIBUTE_VALUES[name]:
                    known = ", ".join(ATTRIBUTE_VALUES[name])
                    raise ValueError(f"{path}, row {number}: {name} is {value!r}, but must be one of {known}")
            prompts.append(EvaluationPrompt(cells["prompt"], expected, "given"))
    return prompts


def scenes_for(prompts: Sequence[EvaluationPrompt], seed: int = 0) -> list[Attributes]:
    """For every prompt a whole scene of which it is true, to render: readings of those are the classifier's ceiling.

    What the words leave open is drawn as usual; values that hardly ever go together are put together all the same.
    """
    return [replace(_nearest(p.expected, f"{seed} {i}"), **p.expected) for i, p in enumerate(prompts)]


def _nearest(expected: dict[str, str], key: str) -> Attributes:
    """Of scenes as training draws them, the first with all expected values, or else one with most of them."""
    rng = random.Random(f"nearest {key}")
    best, most = Attributes(), -1
    for _ in range(DRAWS):
        scene = sample_attributes(rng)
        matches = _matches(scene, expected)
        if matches > most:
            best, most = scene, matches
        if matches == len(expected):
            break
    return best


def _goes_together(values: dict[str, str]) -> bool:
    return _matches(_nearest(values, "swapped"), values) == len(values)


def _matches(scene: Attributes, expected: dict[str, str]) -> int:
    return sum(getattr(scene, name) == value for name, value in expected.items())


def _drawn(kind: str, i: int) -> Attributes:
    return sample_attributes(random.Random(f"evaluation {kind} {i}"))


def _distinct(make: Callable[[int], EvaluationPrompt]) -> list[EvaluationPrompt]:
    """The first 250 prompts with different words."""
    kept: dict[str, EvaluationPrompt] = {}
    i = 0
    while len(kept) < PER_KIND:
        made = make(i)
        kept.setdefault(made.prompt.lower(), made)
        i += 1
    return list(kept.values())


def _as_caption(a: Attributes, seed: int) -> EvaluationPrompt:
    """A caption that training never drew, and what it names."""
    text = caption(a, seed)
    stated = told(a, seed)
    if a.terrain == "sea":
        stated |= {"water"}
    if "moon" in text and not any(word in text.lower() for word in _MOON_SHAPES):
        stated -= {"celestial"}  # "the moon" may be full or a crescent
    return EvaluationPrompt(text, {name: getattr(a, name) for name in ATTRIBUTE_VALUES if name in stated}, "caption")


_MOON_SHAPES = ("full", "round", "bright moon", "crescent", "thin", "sickle")


def _in_unseen_words(a: Attributes, rng: random.Random) -> EvaluationPrompt:
    """'crags under fresh powder at eventide, with a tarn and spruces': the terrain and one to four more attributes."""
    tellable = [name for name in UNSEEN if name != "terrain" and getattr(a, name) in UNSEEN[name]]
    if a.terrain == "sea":
        tellable.remove("water")  # the terrain says it
    told = {"terrain", *rng.sample(tellable, min(len(tellable), rng.choice((1, 2, 2, 3, 3, 4))))}
    words = {name: rng.choice(UNSEEN[name][getattr(a, name)]) for name in UNSEEN if name in told}
    parts = [words["terrain"]]
    if a.terrain == "forest" and "trees" in words:
        parts.append("of " + words.pop("trees"))
    parts += [words[name] for name in ("snow", "mist", "time_of_day", "season") if name in words]
    things = [words[name] for name in ("water", "trees", "celestial", "clouds") if name in words]
    rng.shuffle(things)
    text = " ".join(parts)
    if things:
        text += ", with " + " and ".join(things)
    expected = {name: getattr(a, name) for name in ATTRIBUTE_VALUES if name in told}
    if a.terrain == "sea":
        expected["water"] = "sea"
    return EvaluationPrompt(text, expected, "unseen")


def _plainly(values: dict[str, str]) -> EvaluationPrompt:
    """'a forest at night'; prompts without a terrain start with 'a landscape'."""
    words = [
        PLAIN[name][values[name]] for name in ("terrain", "trees", "time_of_day", "season", "clouds") if name in values
    ]
    return EvaluationPrompt(" ".join(words if "terrain" in values else ["a landscape", *words]), values, "caption")
