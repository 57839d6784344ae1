# Captions: varied, and true to the attributes.
import random
import re

from training.attributes import Attributes, sample_attributes
from training.captions import caption, captions
from training.scenes import sample_scenes

# Words that give an attribute away, as whole words.
SIGNS = {
    "time_of_day": {
        "dawn": r"dawn|sunrise|daybreak|first light",
        "morning": r"morning",
        "noon": r"noon|midday|daylight|by day|middle of the day",
        "sunset": r"sunset|sundown|golden hour|evening sun",
        "dusk": r"dusk|twilight|nightfall",
        "night": r"night|midnight",
    },
    "water": {"lake": r"lake|lakeshore"},
    "snow": {"snow": r"snow|snowy|snow-covered|snow-capped|white"},
    "trees": {"firs": r"firs?|pines?|conifers?|evergreens", "broadleaf": r"leafy|broadleaf|deciduous|trees"},
    "celestial": {"sun": r"the sun|glowing sun|round sun|sunlight", "stars": r"stars|starry"},
    "season": {
        "spring": r"spring|springtime",
        "summer": r"summer|summertime",
        "autumn": r"autumn|autumnal|fall",
        "winter": r"winter|wintertime|wintry",
    },
    "mist": {"mist": r"mist|fog|misty|foggy|hazy"},
}
SCENES = [sample_attributes(random.Random(i)) for i in range(1500)]


def says(text: str, field: str, value: str) -> bool:
    return re.search(rf"\b({SIGNS[field][value]})\b", text.lower()) is not None


def test_captions_never_say_what_is_not_there() -> None:
    for i, a in enumerate(SCENES):
        text = caption(a, i)
        for field in ("time_of_day", "season"):
            wrong = [v for v in SIGNS[field] if v != getattr(a, field) and says(text, field, v)]
            assert not wrong, (text, a)
        for field in ("water", "snow", "mist"):
            assert getattr(a, field) != "none" or not any(says(text, field, v) for v in SIGNS[field]), (text, a)
        assert a.trees == "firs" or not says(text, "trees", "firs"), (text, a)
        assert a.trees != "none" or not says(text, "trees", "broadleaf"), (text, a)


def test_every_attribute_is_mentioned_often() -> None:
    for field, values in SIGNS.items():
        for value in values:
            shown = [caption(a, i) for i, a in enumerate(SCENES) if getattr(a, field) == value]
            assert sum(says(text, field, value) for text in shown) > 0.2 * len(shown), (field, value)


def test_every_caption_names_the_terrain_or_the_water() -> None:
    nouns = "mountain|peak|hill|dune|desert|forest|wood|plain|meadow|field|grassland|sea|coast|ocean|shore|bay"
    assert all(re.search(nouns, caption(a, i).lower()) for i, a in enumerate(SCENES))


def test_captions_vary_in_words_length_and_manner() -> None:
    a = Attributes("sunset", "mountains", "lake", "firs", "few", "snow", "sun", "winter", "none")
    texts = [caption(a, seed) for seed in range(400)]
    assert len(set(texts)) > 300
    lengths = [len(text.split()) for text in texts]
    assert min(lengths) <= 2
    assert max(lengths) >= 16
    assert any(text[0].islower() for text in texts)
    assert any(text[0].isupper() and text.endswith(".") for text in texts)
    assert any(text.count(",") >= 3 and " with " not in text for text in texts)
    assert not any("  " in text or "none" in text or " a a" in text for text in texts)


def test_the_common_prompt_is_well_covered() -> None:
    a = Attributes("sunset", "mountains", "lake", "none", "few", "snow", "sun", "summer", "none")
    texts = [caption(a, seed).lower() for seed in range(3000)]
    snowy_sunsets = [text for text in texts if says(text, "snow", "snow") and says(text, "time_of_day", "sunset")]
    whole = [text for text in snowy_sunsets if says(text, "water", "lake")]
    assert len(whole) > 300
    assert any(re.fullmatch(r"snowy mountains at sunset with a lake\.?", text) for text in texts)


def test_captions_of_a_batch_are_reproducible_and_one_each() -> None:
    scenes = sample_scenes(5, 3)
    assert captions(scenes, 1) == captions(scenes, 1) != captions(scenes, 2)
    assert len(captions(scenes, 1)) == 5
