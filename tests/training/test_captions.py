# Captions: varied, and true to the attributes.
import random
from collections import Counter
from collections.abc import Callable

from training.attributes import ATTRIBUTE_VALUES, Attributes, sample_attributes
from training.captions import caption, captions, true_and_false, untrue
from training.scenes import sample_scenes
from training.wide_words import PATTERNS, wide_phrase

SCENES = [sample_attributes(random.Random(i)) for i in range(1500)]


Reader = Callable[[str], dict[str, set[str]]]


def test_captions_never_say_what_is_not_there(read_caption: Reader) -> None:
    for i, a in enumerate(SCENES):
        text = caption(a, i)
        for name, values in read_caption(text).items():
            assert getattr(a, name) in values or (name == "water" and a.terrain == "sea"), (text, a)


def test_a_sky_is_blue_by_day_alone() -> None:
    rng = random.Random(0)
    for times, blue in ((("morning", "noon"), True), (("dawn", "sunset", "dusk", "night"), False)):
        skies = [Attributes(time_of_day=rng.choice(times), clouds=rng.choice(("clear", "few"))) for _ in range(600)]
        told = [caption(a, i, wide=0.5, tell={"clouds"}) for i, a in enumerate(skies)]
        assert any("blue sk" in text.lower() for text in told) == blue


def test_a_blue_sky_is_a_time_of_day_unless_clouds_cover_it() -> None:
    for clouds, blue in (("few", True), ("many", False)):
        sky = Attributes(time_of_day="noon", clouds=clouds)
        told = [caption(sky, i, wide=0.5, tell={"time_of_day"}) for i in range(300)]
        assert any("blue sk" in text.lower() for text in told) == blue


def test_every_value_of_every_attribute_is_mentioned_often(read_caption: Reader) -> None:
    told = [(a, read_caption(caption(a, i))) for i, a in enumerate(SCENES)]
    for name, values in ATTRIBUTE_VALUES.items():
        for value in set(values) - {"none"}:
            shown = [name in said for a, said in told if getattr(a, name) == value]
            assert sum(shown) > 0.2 * len(shown), (name, value)


def test_every_caption_names_the_terrain(read_caption: Reader) -> None:
    assert all("terrain" in read_caption(caption(a, i)) for i, a in enumerate(SCENES))


def test_a_false_caption_says_one_thing_that_is_not_so(read_caption: Reader) -> None:
    wrong: Counter[str] = Counter()
    for i, a in enumerate(SCENES[:1000]):
        true, false = true_and_false(a, i)
        assert (true, false) == true_and_false(a, i)
        for name, values in read_caption(true).items():
            assert getattr(a, name) in values or (name == "water" and a.terrain == "sea"), (true, a)
        if a.terrain == "sea":
            continue  # its words are those of water too
        said = {n for n, values in read_caption(false).items() if getattr(a, n) not in values}
        assert len(said) <= 1 or said <= {"terrain", "water", "trees"}, (true, false, a)
        wrong.update(said or {"neither"})
    assert wrong["neither"] < 5, "'the moon and stars' may be a crescent's, too"
    assert all(wrong[name] > 30 for name in ATTRIBUTE_VALUES), wrong


def test_a_false_caption_is_wrong_about_what_is_asked_for(read_caption: Reader) -> None:
    for i, a in enumerate(SCENES[:200]):
        false = true_and_false(a, i, wrong="season")[1]
        assert a.season not in read_caption(false).get("season", {a.season}) or a.terrain == "sea", (false, a)


def test_a_false_caption_may_leave_out_what_the_true_one_tells(read_caption: Reader) -> None:
    scenes = [a for a in SCENES if a.terrain != "sea" and a.mist == "mist"][:200]
    assert len(scenes) > 50
    for i, a in enumerate(scenes):
        true, false = true_and_false(a, i, wrong="mist", silent=True)
        assert "mist" in read_caption(true), (true, a)
        assert "mist" not in read_caption(false), (false, a)


def test_a_false_caption_tells_of_the_same_things(read_caption: Reader) -> None:
    """Else the one that says more would be the likelier one, whatever is wrong in it."""
    for i, a in enumerate(SCENES[:500]):
        true, false = (set(read_caption(text)) for text in true_and_false(a, i))
        if a.terrain != "sea":  # its words are those of water too
            assert len(true ^ false) <= 2, (true_and_false(a, i), a)


def test_what_is_there_cannot_be_denied() -> None:
    snowy = untrue(Attributes(terrain="mountains", snow="snow", mist="none"))
    assert "snow" not in snowy
    assert snowy["mist"]
    assert "none" not in snowy["water"]
    assert "water" not in untrue(Attributes(terrain="sea", water="sea"))


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


def test_the_common_prompt_is_well_covered(read_caption: Reader) -> None:
    a = Attributes("sunset", "mountains", "lake", "none", "few", "snow", "sun", "summer", "none")
    texts = [caption(a, seed).lower() for seed in range(3000)]
    whole = [text for text in texts if {"snow", "time_of_day", "water"} <= set(read_caption(text))]
    assert len(whole) > 300
    assert any(all(word in text for word in ("snowy", "mountains", "sunset", "lake")) for text in whole)


def test_captions_of_a_batch_are_reproducible_and_one_each() -> None:
    scenes = sample_scenes(5, 3)
    assert captions(scenes, 1) == captions(scenes, 1) != captions(scenes, 2)
    assert len(captions(scenes, 1)) == 5


def test_wide_words_say_every_value_in_many_ways_and_none_for_two_values() -> None:
    rng = random.Random(0)
    for name, values in ATTRIBUTE_VALUES.items():
        said = {value: {wide_phrase(name, value, rng) for _ in range(300)} for value in set(values) - {"none"}}
        for value, phrases in said.items():
            assert len(phrases) >= 30, value
            assert not any(mark in phrase for phrase in phrases for mark in "{|};"), value
            assert all(phrases.isdisjoint(said[other]) for other in said if other != value), value
    assert {name for name, _ in PATTERNS} == set(ATTRIBUTE_VALUES)


def test_wide_captions_tell_what_the_scene_shows_in_other_words() -> None:
    a = Attributes("night", "mountains", "lake", "none", "clear", "snow", "moon_and_stars", "winter", "none")
    plain, wide = ({caption(a, seed, share) for seed in range(300)} for share in (0.0, 1.0))
    vocabulary = {word for text in plain for word in text.lower().replace(",", "").split()}
    assert sum(not set(text.lower().split()) <= vocabulary for text in wide) > 250
    assert not any("  " in text or "none" in text or " a a" in text for text in wide)
    assert caption(a, 5) == caption(a, 5, 0.0) != caption(a, 5, 1.0)
