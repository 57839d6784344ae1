# Natural words for what a landscape shows, in many voices: terse, full sentences, tags, and partial mentions.
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from training import caption_words as tables
from training.attributes import ATTRIBUTE_VALUES, Attributes
from training.wide_words import wide_phrase

# The attributes that a caption may tell beside the terrain, which it always tells.
TOLD = ("time_of_day", "water", "trees", "clouds", "snow", "celestial", "season", "mist")
# What no caption says: that there is no lake, no snow. Clouds are told even if there are none: "a clear sky".
SILENT = {
    name: ("none",) if name in ("water", "trees", "snow", "celestial", "mist") else () for name in ATTRIBUTE_VALUES
}

# A sky is blue, and its clouds are white, by day alone: told of a clear night too, "a blue sky" drew nights. And what
# many clouds cover is no blue sky.
DAY = ("morning", "noon")
DAYLIGHT = re.compile(r"\b(blue|azure|sapphire|cerulean|cobalt|white)\b")
BLUE_SKY = re.compile(r"\bblue (sky|skies)\b")

# How often a false caption is wrong about an attribute: what the model was found to know least, most often.
WRONG_OFTEN = {"season": 2.5, "clouds": 2.5, "water": 1.5, "mist": 3.0, "snow": 1.5, "celestial": 1.5}


class _HasAttributes(Protocol):
    attributes: list[Attributes]


def _listed(things: Sequence[str]) -> str:
    """'a', 'a and b', 'a, b and c'."""
    return things[0] if len(things) == 1 else ", ".join(things[:-1]) + " and " + things[-1]


class _Voice:
    """Draws the words of one caption. `told` are the fields that this caption mentions.

    tell: the fields to mention, if there is anything to say of them; drawn when None.
    """

    def __init__(
        self, attributes: Attributes, rng: random.Random, wide: float = 0.0, tell: set[str] | None = None
    ) -> None:
        self.a, self.rng, self.wide = attributes, rng, wide
        shown = [field for field in TOLD if getattr(attributes, field) not in SILENT[field]]
        if attributes.terrain == "sea":
            shown.remove("water")  # the noun says it
        weights = {"time_of_day": 3.0, "water": 3.0, "snow": 3.0, "trees": 1.6, "celestial": 1.4, "mist": 1.6}
        order = sorted(shown, key=lambda field: rng.random() ** (1 / weights.get(field, 1.0)), reverse=True)
        count = rng.choice((0, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 5, 6, len(shown)))
        self.told = set(order[:count]) if tell is None else tell & set(shown)

    def of(self, table: dict[str, tuple[str, ...]], field: str) -> str:
        return self.rng.choice(table[getattr(self.a, field)])

    def far(self) -> bool:
        """Whether the next phrase comes from the wide words."""
        return self.wide > 0 and self.rng.random() < self.wide

    def phrase(self, table: dict[str, tuple[str, ...]], field: str) -> str:
        return wide_phrase(field, getattr(self.a, field), self.rng) if self.far() else self.of(table, field)

    def sky(self) -> str:
        """Words for the clouds; the colours of daylight by day only."""
        while True:
            words = self.phrase(tables.CLOUDS, "clouds")
            if self.a.time_of_day in DAY or not DAYLIGHT.search(words):
                return words

    def time(self) -> str:
        """Words for the time of day; no blue sky behind many clouds."""
        while True:
            words = self.phrase(tables.TIME, "time_of_day")
            if self.a.clouds != "many" or not BLUE_SKY.search(words):
                return words

    def wide_noun(self) -> str:
        """The terrain in wide words, which take no adjectives: 'the Eiger under deep snow'."""
        noun = wide_phrase("terrain", self.a.terrain, self.rng)
        covers = [wide_phrase(f, getattr(self.a, f), self.rng) for f in ("snow", "mist") if f in self.told]
        self.told -= {"snow", "mist"}
        return " ".join((noun, *covers))

    def noun(self) -> str:
        """The terrain with its adjectives: 'snowy mountains', 'a misty forest'."""
        if self.far():
            return self.wide_noun()
        nouns = tables.TERRAIN[self.a.terrain]
        if self.a.terrain == "forest" and "trees" in self.told:
            nouns = tables.KIND_OF_FOREST[self.a.trees]
            self.told.discard("trees")
        article, noun = self.rng.choice(nouns)
        adjectives = []
        if "snow" in self.told:
            choices = tables.SNOWY if self.a.terrain == "mountains" else ("snowy", "snow-covered", "white")
            adjectives.append(self.rng.choice(choices))
            self.told.discard("snow")
        if "mist" in self.told and self.rng.random() < 0.5:
            adjectives.append(self.rng.choice(tables.MISTY))
            self.told.discard("mist")
        if "season" in self.told and self.rng.random() < 0.3:
            adjectives.append({"autumn": "autumnal", "winter": "wintry"}.get(self.a.season, self.a.season))
            self.told.discard("season")
        words = " ".join((*adjectives, noun))
        return f"{'an' if words[0] in 'aeiou' else 'a'} {words}" if article else words

    def told_as(self, field: str, words: Callable[[], str]) -> list[str]:
        """[words] once when the field is still to be told, else []."""
        if field not in self.told:
            return []
        self.told.discard(field)
        return [words()]

    def companions(self) -> list[str]:
        """What else there is, as nouns, in a random order."""
        things = [
            *self.told_as("water", lambda: self.phrase(tables.WATER, "water")),
            *self.told_as("trees", lambda: self.phrase(tables.TREES, "trees")),
            *self.told_as("celestial", lambda: self.phrase(tables.CELESTIAL, "celestial")),
            *self.told_as("clouds", self.sky),
            *self.told_as("mist", lambda: self.rng.choice(tables.MIST)),
        ]
        self.rng.shuffle(things)
        return things

    def when(self) -> list[str]:
        moments = [
            *self.told_as("time_of_day", self.time),
            *self.told_as("season", lambda: self.phrase(tables.SEASON, "season")),
        ]
        return moments if self.rng.random() < 0.8 else moments[::-1]

    def plain(self) -> str:
        """'snowy mountains at sunset with a lake'."""
        noun, parts = self.noun(), []
        if "water" in self.told and self.rng.random() < 0.35:
            parts += self.told_as("water", lambda: self.of(tables.BY_WATER, "water"))
        parts += self.when()
        things = self.companions()
        if not things:
            return " ".join((noun, *parts))
        companions = self.rng.choice(("with {}", "with {}", "with {}", "and {}")).format(_listed(things))
        if self.rng.random() < 0.3:
            return " ".join((noun, companions, *parts))
        return " ".join((noun, *parts, companions))

    def framed(self) -> str:
        return self.rng.choice(tables.FRAMES).format(self.plain())

    def shining(self) -> str:
        """'a full moon shines over snowy mountains at night'; the plain voice when nothing shines."""
        if "celestial" not in self.told:
            return self.plain()
        self.told.discard("celestial")
        return f"{self.of(tables.SHINES, 'celestial')} {self.plain()}"

    def moment(self) -> str:
        """'sunset over snowy mountains with a lake'."""
        if "time_of_day" not in self.told:
            return self.framed()
        self.told.discard("time_of_day")
        return f"{self.of(tables.TIME_NOUN, 'time_of_day')} over {self.plain()}"

    def tags(self) -> str:
        """'mountains, snow, sunset, lake'."""
        if self.far():
            bare = wide_phrase("terrain", self.a.terrain, self.rng)
        else:
            bare = self.rng.choice([noun for _, noun in tables.TERRAIN[self.a.terrain]])
        tags = [
            *self.told_as("time_of_day", lambda: self.of(tables.TIME_NOUN, "time_of_day")),
            *self.told_as("season", lambda: self.a.season),
            *self.told_as("snow", lambda: self.rng.choice(("snow", "snowy"))),
            *(thing.removeprefix("a ").removeprefix("the ") for thing in self.companions()),
        ]
        self.rng.shuffle(tags)
        tags.insert(0 if self.rng.random() < 0.6 else self.rng.randrange(len(tags) + 1), bare)
        if self.rng.random() < 0.25:
            tags.append(self.rng.choice(tables.STYLES))
        return ", ".join(tags)


def caption(attributes: Attributes, seed: int, wide: float = 0.0, tell: set[str] | None = None) -> str:
    """Words for the attributes, another choice of words for every seed; true, but not always everything.

    wide: share of the phrases that come from wide_words.py.  tell: what to mention beside the terrain, of TOLD; drawn
    when None.

    From 'dunes' to full sentences and tags; lower or upper case at the start, with or without a full stop.
    """
    rng = random.Random(f"caption {seed}")
    voice = _Voice(attributes, rng, wide, tell)
    speak = rng.choices((voice.plain, voice.framed, voice.shining, voice.moment, voice.tags), (5, 2, 1.5, 1.5, 2))[0]
    text = speak()
    if speak != voice.tags and rng.random() < 0.08:
        text += ", " + rng.choice(tables.STYLES)
    manner = rng.random()
    if manner < 0.45:
        return text
    text = text[0].upper() + text[1:]
    return text if manner < 0.7 or speak == voice.tags else text + "."


def told(attributes: Attributes, seed: int) -> set[str]:
    """The attributes that caption() mentions for this seed; the terrain is always among them."""
    return _Voice(attributes, random.Random(f"caption {seed}")).told | {"terrain"}


def untrue(attributes: Attributes) -> dict[str, tuple[str, ...]]:
    """For each attribute the values that are not so and that a caption could tell; without those that have none."""
    fixed = {"water"} if attributes.terrain == "sea" else set()  # the sea's water is the sea
    values = {
        name: tuple(v for v in values if v not in (getattr(attributes, name), *SILENT[name]))
        for name, values in ATTRIBUTE_VALUES.items()
        if name not in fixed
    }
    return {name: others for name, others in values.items() if others}


def true_and_false(
    attributes: Attributes, seed: int, wide: float = 0.0, wrong: str | None = None, silent: bool = False
) -> tuple[str, str]:
    """A caption, and one in the same voice that says one thing which is not so: another season, a lake that is not.

    wrong: the attribute that is not as it is said, one of untrue(attributes); drawn by WRONG_OFTEN unless given.
    silent: the second caption may also leave out a lake that is there, while the first one tells of it: asked for a
    lake, a model that has learned only what is said wrongly goes on drawing scenes without one.
    """
    rng = random.Random(f"false {seed}")
    others = untrue(attributes)
    if silent:
        there = {name: none for name, none in SILENT.items() if none and getattr(attributes, name) not in none}
        if attributes.terrain == "sea":
            del there["water"]
        others = {name: others.get(name, ()) + there.get(name, ()) for name in ATTRIBUTE_VALUES}
        others = {name: values for name, values in others.items() if values}
    name = wrong or rng.choices(list(others), [WRONG_OFTEN.get(name, 1.0) for name in others])[0]
    while True:
        said = replace(attributes, **{name: rng.choice(others[name])})
        if said.terrain == "sea":
            said = replace(said, water="sea")
        voice = rng.randrange(2**31)
        telling = attributes if getattr(said, name) in SILENT[name] else said
        tell = told(telling, voice)
        if name in tell:
            return caption(attributes, voice, wide, tell), caption(said, voice, wide, tell)


def captions(scenes: _HasAttributes, seed: int) -> list[str]:
    """One caption for every scene of a batch; scene i speaks with a voice of its own."""
    return [caption(attributes, seed * 1_000_003 + i) for i, attributes in enumerate(scenes.attributes)]


def moving(text: str, pan: int, lapse: bool, seed: int) -> str:
    """A caption with words for the motion of its film, before or after it: mostly told, sometimes left open.

    pan: 1 = the camera goes right, -1 = left, 0 = it stays.  lapse: time runs fast.
    """
    rng = random.Random(f"motion {seed}")
    words = []
    if rng.random() < 0.8:
        words.append(rng.choice(tables.PANS[pan]))
    if lapse and rng.random() < 0.8:
        words.append(rng.choice(tables.LAPSE))
    caption = text.removesuffix(".")
    # Of a caption that is too long for the model the end is cut: so the motion is not always told there.
    return ", ".join([*words, caption] if rng.random() < 0.5 else [caption, *words])


def photographed(text: str, seed: int) -> str:
    """A caption with a word that says it is a photograph: what sets it apart from the drawn scenes."""
    bare = text.removesuffix(".")
    return random.Random(f"photo {seed}").choice(tables.PHOTOGRAPHED).format(bare[:1].lower() + bare[1:])
