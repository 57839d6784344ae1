"""How pictures fit their prompts: scenes fit their own words best, whatever their size."""

import pytest
import torch
from torch import Tensor

from model.attributes import ATTRIBUTE_VALUES
from model.scorer import AttributeClassifier, fit, load_classifier, readable
from training.attributes import Attributes
from training.scenes import SceneBatch, render, sample_scenes


@pytest.fixture(scope="module")
def classifier() -> AttributeClassifier:
    return load_classifier()


@pytest.fixture(scope="module")
def scenes() -> SceneBatch:
    return sample_scenes(24, seed=2_000_000_123)


@pytest.fixture(scope="module")
def pictures(scenes: SceneBatch) -> Tensor:
    """[24, 3, 256, 256]"""
    return render(scenes, (256, 256))


def words(shown: Attributes) -> str:
    return f"{shown.terrain} at {shown.time_of_day}"


def test_scenes_fit_their_own_words_better_than_those_of_others(
    classifier: AttributeClassifier, scenes: SceneBatch, pictures: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = [words(shown) for shown in scenes.attributes]
    scores = []
    for picture in pictures:
        logits = classifier(picture[None])
        with monkeypatch.context() as patch:
            patch.setattr(classifier, "forward", lambda pixels, logits=logits: logits)  # a picture is read once
            scores.append([fit(classifier, picture, prompt).score for prompt in prompts])
    best = [own[i] >= max(own) - 1e-6 for i, own in enumerate(scores)]
    assert sum(best) >= 20  # the classifier reads 95 % of terrains, nearly all times of day


def test_a_fit_says_what_was_asked_and_what_was_read(
    classifier: AttributeClassifier, scenes: SceneBatch, pictures: Tensor
) -> None:
    picture, shown = pictures[0], scenes.attributes[0]
    found = fit(classifier, picture, words(shown))
    assert found.asked["time_of_day"] == (shown.time_of_day,)
    assert found.read.keys() == ATTRIBUTE_VALUES.keys()
    assert all(found.read[name] in values for name, values in ATTRIBUTE_VALUES.items())
    assert found.score is not None
    assert 0 <= found.score <= 1
    with torch.no_grad():
        logits = classifier(picture[None])
    asked = {name: logits[name][0].softmax(0)[ATTRIBUTE_VALUES[name].index(v)] for name, [v] in found.asked.items()}
    assert found.score == pytest.approx(float(sum(asked.values())) / len(asked), abs=1e-5)


@pytest.mark.parametrize("prompt", [None, "a portrait of my cat"])
def test_a_prompt_that_tells_nothing_gives_no_score(
    classifier: AttributeClassifier, pictures: Tensor, prompt: str | None
) -> None:
    found = fit(classifier, pictures[0], prompt)
    assert (found.score, found.asked) == (None, {})
    assert found.read


@pytest.mark.parametrize("size", [(1, 1), (16, 64), (3000, 20), (64, 8192), (512, 512), (700, 400)])
def test_pictures_of_any_size_can_be_read(classifier: AttributeClassifier, size: tuple[int, int]) -> None:
    pixels = torch.rand(3, *size, generator=torch.Generator().manual_seed(1)) * 2 - 1
    small = readable(pixels)
    assert 192 <= min(small.shape[1:]) <= 384
    assert max(small.shape[1:]) <= 2048
    assert fit(classifier, pixels, "a lake").score is not None


def test_a_picture_of_a_size_that_can_be_read_is_read_as_it_is() -> None:
    pixels = torch.rand(3, 256, 512)
    assert readable(pixels) is pixels
