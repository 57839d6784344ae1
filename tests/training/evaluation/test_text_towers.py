"""The comparison of text towers: same words, same steps; only the word table differs."""

import torch

from model.text import WordPieces
from training.evaluation.prompts import EvaluationPrompt
from training.evaluation.text_towers import CONFIG, TINY, TextTower, frozen_text, learned_text, score_tower, train_tower

WORDS = WordPieces(TINY / "words.json", CONFIG.text_tokens)


def test_the_frozen_table_stays_and_the_learned_one_moves() -> None:
    frozen = frozen_text(TINY)
    before = frozen.table.clone()
    tower = train_tower(frozen, WORDS, steps=1)
    assert torch.equal(tower.text.table, before)
    assert "text.table" not in dict(tower.named_parameters())

    learned = learned_text(len(before))
    start = learned.table.detach().clone()
    tower = train_tower(learned, WORDS, steps=1)
    assert not torch.equal(tower.text.table.detach(), start)


def test_scores_are_told_apart_by_the_kind_of_prompt() -> None:
    tower = TextTower(frozen_text(TINY)).eval()
    said = tower.predict(WORDS(["dunes"]))[0]
    right = EvaluationPrompt("dunes", {"terrain": said["terrain"]}, "caption")
    wrong = EvaluationPrompt("dunes", {"terrain": "hills" if said["terrain"] != "hills" else "sea"}, "unseen")
    rows = score_tower(tower, WORDS, [right, wrong], "frozen")
    assert [(row.table, row.kind, row.mean) for row in rows] == [("frozen", "caption", 1.0), ("frozen", "unseen", 0.0)]
