"""Evaluation prompts: fixed, true to what they expect, and the unseen half truly in other words."""

import ast
import random
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from training import caption_words, captions
from training.attributes import ATTRIBUTE_VALUES, sample_attributes
from training.captions import caption
from training.evaluation.lexicon import EMPTY_WORDS, PLAIN, UNSEEN
from training.evaluation.prompts import (
    EvaluationPrompt,
    _as_caption,
    evaluation_prompts,
    read_prompts_csv,
    scenes_for,
    swapped_prompts,
)
from training.wide_words import PATTERNS


def words(text: str) -> set[str]:
    return set(re.findall(r"[a-z']+", text.lower()))


def caption_vocabulary() -> set[str]:
    """Every word of captions.py, its two tables of words and attributes.py, docstrings apart: what captions may say."""
    texts = []
    for module in (captions, caption_words):
        tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
        docstrings = {
            node.body[0].value
            for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and isinstance(node.body[0], ast.Expr)
            and isinstance(node.body[0].value, ast.Constant)
        }
        texts += [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and n not in docstrings]
    texts += [pattern for patterns in PATTERNS.values() for pattern in patterns]
    values = [value.replace("_", " ") for group in ATTRIBUTE_VALUES.values() for value in group]
    texts = [text for text in texts if isinstance(text, str) and "_" not in text]  # names of fields are never said
    return set().union(*(words(text) for text in [*texts, *values]))


VOCABULARY = caption_vocabulary()
PROMPTS = evaluation_prompts()


def test_the_vocabulary_holds_every_word_that_captions_use() -> None:
    rng = random.Random(0)
    said = set().union(*(words(caption(sample_attributes(rng), i, 0.5)) for i in range(6000)))
    assert said <= VOCABULARY
    assert len(said) > 150


def test_no_telling_word_of_the_unseen_half_is_a_caption_word() -> None:
    telling = words(" ".join(p.prompt for p in PROMPTS if p.kind == "unseen")) - EMPTY_WORDS
    assert telling & VOCABULARY == set()
    # nor is one made from a caption word, such as "snowbound" or "summery"
    stems = {word for word in VOCABULARY - EMPTY_WORDS if len(word) > 3}
    assert [(word, stem) for word in telling for stem in stems if word.startswith(stem)] == []


def test_no_empty_word_tells_an_attribute() -> None:
    for values in UNSEEN.values():
        for phrases in values.values():
            assert all(words(phrase) - EMPTY_WORDS for phrase in phrases)


def test_the_lexicon_has_several_ways_to_say_every_value_and_no_phrase_twice() -> None:
    for name, values in ATTRIBUTE_VALUES.items():
        assert set(UNSEEN[name]) == set(values) - {"none"}
        phrases = [phrase for value in UNSEEN[name].values() for phrase in value]
        assert len(phrases) == len(set(phrases))
        assert all(len(UNSEEN[name][value]) >= 2 for value in UNSEEN[name])


def test_there_are_250_distinct_prompts_of_each_kind_and_always_the_same() -> None:
    assert Counter(p.kind for p in PROMPTS) == {"caption": 250, "unseen": 250}
    assert len({p.prompt.lower() for p in PROMPTS}) == 500
    assert evaluation_prompts() == PROMPTS


def test_every_attribute_is_asked_often_in_both_halves() -> None:
    for kind in ("caption", "unseen"):
        asked = Counter(name for p in PROMPTS if p.kind == kind for name in p.expected)
        assert set(asked) == set(ATTRIBUTE_VALUES)
        assert min(asked.values()) >= 20


def says(text: str, phrase: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(phrase)}(?!\w)", text) is not None


def test_unseen_prompts_say_what_they_expect_and_nothing_else() -> None:
    for prompt in PROMPTS[250:]:
        for name, values in UNSEEN.items():
            said = {
                value for value, phrases in values.items() if any(says(prompt.prompt, phrase) for phrase in phrases)
            }
            if name in prompt.expected and not (name == "water" and prompt.expected["terrain"] == "sea"):
                assert prompt.expected[name] in said, prompt
            elif name not in prompt.expected:
                assert not said, prompt


def test_captions_expect_exactly_the_attributes_they_name(read_caption: Callable[[str], dict[str, set[str]]]) -> None:
    for i in range(800):
        scene = sample_attributes(random.Random(i))
        prompt = _as_caption(scene, i)
        told = set(read_caption(prompt.prompt)) | ({"water"} if scene.terrain == "sea" else set())
        assert set(prompt.expected) - {"celestial"} == told - {"celestial"}, prompt
        assert all(getattr(scene, n) == value for n, value in prompt.expected.items())


def test_a_moon_of_unsaid_shape_is_not_judged() -> None:
    moons = [p for p in PROMPTS if p.kind == "caption" and re.search(r"\b(moon|moonlight|moonlit)\b", p.prompt.lower())]
    for prompt in moons:
        shaped = re.search(r"full|round|bright moon|crescent|thin|sickle", prompt.prompt.lower()) is not None
        assert ("celestial" in prompt.expected) == shaped, prompt
    assert len(moons) > 20


def test_swapped_pairs_state_the_same_two_attributes_with_values_that_differ() -> None:
    pairs = swapped_prompts()
    assert pairs == swapped_prompts()
    assert len(pairs) == 50
    for first, second in pairs:
        assert set(first.expected) == set(second.expected)
        assert len(first.expected) == 2
        assert all(first.expected[name] != second.expected[name] for name in first.expected)
        assert (words(first.prompt) | words(second.prompt)) <= VOCABULARY
        for prompt in (first, second):
            assert all(PLAIN[name][value] in prompt.prompt for name, value in prompt.expected.items())


def test_every_prompt_is_true_of_its_scene() -> None:
    asked = PROMPTS[200:300]
    for prompt, scene in zip(asked, scenes_for(asked), strict=True):
        assert all(getattr(scene, name) == value for name, value in prompt.expected.items())


def write(folder: Path, text: str) -> Path:
    path = folder / "prompts.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_csv_gives_prompts_and_what_is_judged(tmp_path: Path) -> None:
    path = write(tmp_path, 'terrain,prompt,snow\nmountains,"peaks, white",snow\n,anything,\n')
    assert read_prompts_csv(path) == [
        EvaluationPrompt("peaks, white", {"terrain": "mountains", "snow": "snow"}, "given"),
        EvaluationPrompt("anything", {}, "given"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("terrain\nhills\n", "row 1: there is no column 'prompt'"),
        ("prompt,colour\nx,red\n", "row 1: unknown column 'colour'"),
        ("prompt,terrain\na,hills\nb,swamp\n", "row 3: terrain is 'swamp', but must be one of mountains, hills"),
        ("prompt,terrain\n,hills\n", "row 2: the prompt is empty"),
        ("prompt,terrain\na\n", "row 2: has more or fewer cells"),
        ("prompt,terrain\na,hills,b\n", "row 2: has more or fewer cells"),
        ("", "row 1: there is no column 'prompt'"),
    ],
)
def test_a_csv_with_mistakes_is_refused_with_the_row_and_its_fault(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        read_prompts_csv(write(tmp_path, text))
