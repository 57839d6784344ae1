"""What prompts ask for, read off their words: agreed words narrow, others widen, denied ones turn round."""

import pytest

from model.attributes import ATTRIBUTE_VALUES, asked_attributes
from training.evaluation.prompts import evaluation_prompts

MOONS = ("moon", "crescent", "moon_and_stars", "crescent_and_stars")


@pytest.mark.parametrize(
    ("prompt", "asked"),
    [
        ("Snowy mountains at sunset, with a lake.", "time_of_day=sunset terrain=mountains water=lake snow=snow"),
        ("a pine forest in the fall", "terrain=forest trees=firs season=autumn"),
        ("mountains and a forest", "terrain=mountains,forest"),
        ("hills by the sea", "terrain=hills water=sea"),
        ("the sea", "terrain=sea water=sea"),
        ("fir trees by the water", "water=lake,sea trees=firs"),
        ("a desert under the moon", f"terrain=dunes celestial={','.join(MOONS)}"),
        ("a full moon and stars", "celestial=moon_and_stars"),
        ("dunes with no clouds", "terrain=dunes clouds=clear"),
        ("hills without trees or snow, a lake", "terrain=hills water=lake trees=none snow=none"),
        ("fields without a cloud and with a pond", "terrain=plains water=lake clouds=clear"),
        ("in the evening sun", "time_of_day=sunset"),
        ("a portrait of my cat", ""),
        ("ein Haus am See", ""),
        ("", ""),
    ],
)
def test_words_ask_for_attributes(prompt: str, asked: str) -> None:
    wanted = {name: tuple(values.split(",")) for name, values in (part.split("=") for part in asked.split())}
    assert asked_attributes(prompt) == wanted


def test_no_prompt_asks_for_nothing() -> None:
    assert asked_attributes(None) == {}


def test_values_are_known_ones_in_their_usual_order() -> None:
    for prompt in evaluation_prompts():
        for name, values in asked_attributes(prompt.prompt).items():
            assert [value for value in ATTRIBUTE_VALUES[name] if value in values] == list(values) != []


@pytest.mark.parametrize("kind", ["caption", "unseen"])
def test_what_the_evaluation_s_prompts_state_is_read_off_their_words(kind: str) -> None:
    prompts = [prompt for prompt in evaluation_prompts() if prompt.kind == kind]
    stated = [(asked_attributes(p.prompt), name, value) for p in prompts for name, value in p.expected.items()]
    assert len(stated) > 900
    missed = [name for asked, name, _ in stated if name not in asked]
    wrong = [(name, value) for asked, name, value in stated if value not in asked.get(name, [value])]
    assert wrong == []
    assert len(missed) < 0.03 * len(stated)  # "white" for snow, hours of the day


def test_long_prompts_are_read_in_no_time() -> None:
    assert asked_attributes("no " * 700) == {}
    assert set(asked_attributes("a lake without " * 120)) == {"water"}
