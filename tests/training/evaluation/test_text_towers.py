"""The comparison of text towers: each learns what captions show, and scores are told apart by the kind of prompt."""

import pytest
import torch

from model.config import PRESETS
from model.text import WordPieces
from training.attributes import Attributes
from training.evaluation import text_towers
from training.evaluation.prompts import EvaluationPrompt
from training.evaluation.text_towers import TINY, Tower
from training.recipe import TransformerRecipe
from training.sentence import read_sentence_encoder

CONFIG = PRESETS["tiny"].transformer
WORDS = WordPieces(TINY / "words.json", CONFIG.text_tokens)


def tower(name: str) -> Tower:
    torch.manual_seed(0)
    sentence = None if name == "nothing" else read_sentence_encoder(TINY, CONFIG, text_towers.VOCABULARY)
    return Tower(CONFIG, WORDS, sentence)


@pytest.mark.parametrize("name", text_towers.CONTENDERS)
def test_a_tower_learns_what_a_few_captions_show(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lands = ("mountains", "dunes", "forest")
    monkeypatch.setattr(text_towers, "sample_attributes", lambda rng: Attributes(terrain=rng.choice(lands)))
    monkeypatch.setattr(text_towers, "caption", lambda scene, seed, wide: scene.terrain)
    learner = tower(name)
    learner.learn(12, TransformerRecipe(captions_per_step=6, text_noise=0.0))
    assert [said["terrain"] for said in learner.predict(lands)] == list(lands)


def test_the_sentence_encoder_stays_as_it_is_and_a_table_of_words_is_learned() -> None:
    frozen, learned = tower("sentence encoder"), tower("nothing")
    assert not any(p.requires_grad for p in frozen.text.sentence.parameters())
    assert any(len(p) == text_towers.VOCABULARY for p in learned.parameters())


def test_scores_are_told_apart_by_the_kind_of_prompt() -> None:
    reader = tower("sentence encoder").eval()
    said = reader.predict(["dunes"])[0]["terrain"]
    right = EvaluationPrompt("dunes", {"terrain": said}, "caption")
    wrong = EvaluationPrompt("dunes", {"terrain": "hills" if said != "hills" else "sea"}, "unseen")
    assert {kind: score.mean for kind, score in reader.scores([right, wrong]).items()} == {"caption": 1, "unseen": 0}
