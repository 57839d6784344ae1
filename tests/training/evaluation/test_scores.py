"""Scores of prompts and of swapped pairs: right on small cases worked out by hand."""

import pytest

from training.evaluation.scores import attribute_scores, swap_score

EXPECTED = [
    {"terrain": "hills", "water": "lake"},
    {"terrain": "dunes"},
    {"terrain": "sea", "water": "sea", "snow": "snow"},
]
READ = [
    {"terrain": "hills", "water": "none", "snow": "snow"},
    {"terrain": "dunes", "water": "none", "snow": "none"},
    {"terrain": "hills", "water": "sea", "snow": "snow"},
]


def test_accuracy_counts_only_what_the_prompts_state() -> None:
    scores = attribute_scores(EXPECTED, READ)
    assert scores.stated == {"terrain": 3, "water": 2, "snow": 1}
    assert scores.accuracy == {"terrain": pytest.approx(2 / 3), "water": 0.5, "snow": 1.0}
    assert scores.mean == pytest.approx(4 / 6)
    assert scores.share is None


def test_the_ceiling_is_weighted_as_the_attributes_are_stated() -> None:
    scores = attribute_scores(EXPECTED, READ, {"terrain": 0.9, "water": 0.8, "snow": 0.5, "mist": 0.1})
    assert scores.share == pytest.approx(4 / (3 * 0.9 + 2 * 0.8 + 0.5))


def test_a_generator_as_good_as_rendered_scenes_has_a_share_of_one() -> None:
    ceiling = attribute_scores(EXPECTED, READ).accuracy
    assert attribute_scores(EXPECTED, READ, ceiling).share == pytest.approx(1.0)


def test_the_interval_holds_the_mean_and_narrows_with_more_prompts() -> None:
    few, many = attribute_scores(EXPECTED, READ), attribute_scores(EXPECTED * 50, READ * 50)
    for scores in (few, many):
        assert scores.interval[0] <= scores.mean <= scores.interval[1]
    # 150 prompts: the standard error of a mean of 2/3 over 300 readings is about 0.03
    assert 0.04 < many.interval[1] - many.interval[0] < 0.2 < few.interval[1] - few.interval[0]


def test_the_interval_is_the_same_every_time() -> None:
    assert attribute_scores(EXPECTED, READ) == attribute_scores(EXPECTED, READ)


def test_prompts_that_state_nothing_or_lack_a_reading_are_refused() -> None:
    with pytest.raises(ValueError, match="states any"):
        attribute_scores([{}], READ[:1])
    with pytest.raises(ValueError):
        attribute_scores(EXPECTED, READ[:2])
    with pytest.raises(ValueError, match="lacks snow, water"):
        attribute_scores(EXPECTED, READ, {"terrain": 1.0})


NIGHT_DUNES, DAWN_SEA = {"time_of_day": "night", "terrain": "dunes"}, {"time_of_day": "dawn", "terrain": "sea"}


def test_a_pair_follows_only_when_both_pictures_show_all_their_words() -> None:
    half = {"time_of_day": "night", "terrain": "sea"}
    pair = (NIGHT_DUNES, DAWN_SEA)
    score = swap_score([pair, pair], [pair, (half, DAWN_SEA)])
    assert score.follows == 0.5
    assert score.readings == pytest.approx(7 / 8)
    assert score.exchanged == pytest.approx(1 / 8)


def test_pictures_that_exchange_the_values_are_told_from_wrong_ones() -> None:
    neither = {"time_of_day": "noon", "terrain": "hills"}
    pair = (NIGHT_DUNES, DAWN_SEA)
    assert swap_score([pair], [(DAWN_SEA, NIGHT_DUNES)]).exchanged == 1.0
    assert swap_score([pair], [(neither, neither)]).exchanged == 0.0
    with pytest.raises(ValueError, match="no pairs"):
        swap_score([], [])
