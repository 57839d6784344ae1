"""The comparison of text towers: the encoder is a BERT's, what is frozen stays, no word of the lexicon is learned."""

import re
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from training import captions
from training.attributes import Attributes
from training.evaluation import text_towers
from training.evaluation.lexicon import EMPTY_WORDS, UNSEEN
from training.evaluation.prompts import EvaluationPrompt
from training.evaluation.text_towers import (
    CONTENDERS,
    TINY,
    Contender,
    Frozen,
    SentenceEncoder,
    TextTower,
    in_8_bits,
    lessons,
    score_tower,
    train_tower,
)
from training.evaluation.wider_captions import SNOWY, WIDER, wider_captions
from training.text_table import TABLE

FROZEN = Frozen(TINY)
VOCABULARY = FROZEN.pieces.get_vocab_size()
TABLE_READ, TABLE_MB = FROZEN.reader("table 96")
WIDTH, INNER, LAYERS, HEADS = 8, 16, 2, 2


@pytest.fixture
def bert() -> tuple[torch.nn.TransformerEncoder, dict[str, Tensor]]:
    """A small post-norm encoder of torch's own, and the same weights under a BERT's names."""
    torch.manual_seed(0)
    layer = torch.nn.TransformerEncoderLayer(
        WIDTH, HEADS, INNER, dropout=0, activation="gelu", layer_norm_eps=1e-12, batch_first=True
    )
    stack = torch.nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False).eval()
    for p in stack.parameters():
        torch.nn.init.normal_(p, std=0.5)
    weights = {
        TABLE: torch.randn(20, WIDTH),
        "embeddings.position_embeddings.weight": torch.randn(10, WIDTH),
        "embeddings.token_type_embeddings.weight": torch.randn(2, WIDTH),
        "embeddings.LayerNorm.weight": torch.randn(WIDTH),
        "embeddings.LayerNorm.bias": torch.randn(WIDTH),
    }
    for i, part in enumerate(stack.layers):
        theirs = {
            "attention.output.dense": part.self_attn.out_proj,
            "attention.output.LayerNorm": part.norm1,
            "intermediate.dense": part.linear1,
            "output.dense": part.linear2,
            "output.LayerNorm": part.norm2,
        }
        for name, module in theirs.items():
            weights[f"encoder.layer.{i}.{name}.weight"] = module.weight.detach()
            weights[f"encoder.layer.{i}.{name}.bias"] = module.bias.detach()
        for kind in ("weight", "bias"):
            joint = getattr(part.self_attn, f"in_proj_{kind}").detach()
            for name, third in zip(("query", "key", "value"), joint.chunk(3), strict=True):
                weights[f"encoder.layer.{i}.attention.self.{name}.{kind}"] = third
    return stack, weights


def test_the_encoder_gives_the_states_of_torchs_own_and_does_not_see_padding(
    bert: tuple[torch.nn.TransformerEncoder, dict[str, Tensor]],
) -> None:
    stack, weights = bert
    ids, mask = torch.tensor([[3, 7, 1, 4], [5, 2, 0, 0]]), torch.tensor([[True] * 4, [True, True, False, False]])
    start = weights[TABLE][ids] + weights["embeddings.position_embeddings.weight"][:4]
    start = start + weights["embeddings.token_type_embeddings.weight"][0]
    start = F.layer_norm(
        start, (WIDTH,), weights["embeddings.LayerNorm.weight"], weights["embeddings.LayerNorm.bias"], eps=1e-12
    )
    expected = stack(start, src_key_padding_mask=~mask)
    torch.testing.assert_close(SentenceEncoder(weights, HEADS)(ids, mask)[mask], expected[mask])


def test_in_8_bits_every_matrix_is_near_what_it_was_and_vectors_stay() -> None:
    weights = {"matrix": torch.randn(30, 40), "vector": torch.randn(7)}
    rounded = in_8_bits(weights)
    assert torch.equal(rounded["vector"], weights["vector"])
    error = (rounded["matrix"] - weights["matrix"]).abs()
    assert 0 < error.max() <= weights["matrix"].abs().max() / 127 * 0.501


@pytest.mark.parametrize("states", ["ids", "table 96"])
def test_a_tower_learns_what_a_few_captions_show(states: str, monkeypatch: pytest.MonkeyPatch) -> None:
    few = lessons(1, wider=False)[0][:4]
    monkeypatch.setattr(text_towers, "lessons", lambda steps, wider, seed: [few] * steps)
    read, _ = FROZEN.reader(states)
    tower = train_tower(Contender("any", states, layers=0, told_only=True), read, 25, VOCABULARY)
    asked = [EvaluationPrompt(text, told, "caption") for text, _, told in few]
    assert score_tower(tower, read, asked)[0].mean == 1


def test_a_tower_on_the_word_table_trains_no_table_and_one_on_nothing_does() -> None:
    for states, trained in (("table 96", False), ("ids", True)):
        read, megabytes = FROZEN.reader(states)
        tower = TextTower(Contender("any", states), torch.cat(read(["a lake at dusk"])), VOCABULARY)
        assert any(len(p) == VOCABULARY for p in tower.parameters()) is trained
        assert (megabytes > 3) is not trained


def test_a_prompt_reads_alike_alone_and_beside_longer_ones() -> None:
    for layers in (0, 1):
        torch.manual_seed(1)
        tower = TextTower(Contender("any", "table 96", layers), torch.cat(TABLE_READ(["a lake at dusk"])), VOCABULARY)
        tower.eval()
        both = tower(TABLE_READ(["dunes", "snowy mountains at sunset with a lake"]))
        torch.testing.assert_close(both[:1], tower(TABLE_READ(["dunes"])))


def test_noise_and_word_dropout_act_in_training_only() -> None:
    torch.manual_seed(1)
    loud = Contender("loud", "table 96", noise=1.0, word_dropout=0.5)
    states = TABLE_READ(["a lake at dusk"])
    tower = TextTower(loud, torch.cat(states), VOCABULARY)
    assert not torch.equal(tower(states), tower(states))
    tower.eval()
    assert torch.equal(tower(states), tower(states))


def test_where_only_what_is_told_counts_the_rest_of_the_scene_changes_nothing() -> None:
    torch.manual_seed(1)
    told = Contender("told", "table 96", told_only=True)
    states = TABLE_READ(["some dunes"])
    first = [("some dunes", Attributes(terrain="dunes", clouds="few"), {"terrain": "dunes"})]
    second = [("some dunes", Attributes(terrain="dunes", clouds="many"), {"terrain": "dunes"})]
    tower = TextTower(told, torch.cat(states), VOCABULARY).eval()
    assert torch.equal(tower.loss(states, first), tower.loss(states, second))
    tower.contender = replace(told, told_only=False)
    assert not torch.equal(tower.loss(states, first), tower.loss(states, second))


def test_scores_are_told_apart_by_the_kind_of_prompt() -> None:
    tower = TextTower(CONTENDERS[1], torch.cat(TABLE_READ(["a lake at dusk"])), VOCABULARY).eval()
    said = tower.predict(TABLE_READ(["dunes"]))[0]
    right = EvaluationPrompt("dunes", {"terrain": said["terrain"]}, "caption")
    wrong = EvaluationPrompt("dunes", {"terrain": "hills" if said["terrain"] != "hills" else "sea"}, "unseen")
    assert [(row.kind, row.mean) for row in score_tower(tower, TABLE_READ, [right, wrong])] == [
        ("caption", 1.0),
        ("unseen", 0.0),
    ]


def words(said: list[str]) -> set[str]:
    return set(re.findall(r"[a-z']+", " ".join(said).lower()))


def phrases(lexicon: dict[str, dict[str, tuple[str, ...]]]) -> list[str]:
    return [phrase for values in lexicon.values() for told in values.values() for phrase in told]


def test_no_telling_word_of_the_lexicon_is_a_wider_word_nor_made_from_one() -> None:
    wider = words([*phrases(WIDER), *SNOWY]) - EMPTY_WORDS
    telling = words(phrases(UNSEEN)) - EMPTY_WORDS
    assert telling & wider == set()
    stems = {word for word in wider if len(word) > 3}
    assert [(word, stem) for word in telling for stem in stems if word.startswith(stem)] == []


def test_wider_words_are_said_inside_the_context_only_and_of_the_right_values() -> None:
    plain = [text for batch in lessons(40, wider=False) for text, _, _ in batch]
    rich = [lesson for batch in lessons(40, wider=True) for lesson in batch]
    assert not any("larches" in text or "Himalayas" in text for text in plain)
    assert all(scene.trees == "firs" for text, scene, _ in rich if "larches" in text)
    assert any("larches" in text for text, _, _ in rich)
    before = (dict(captions._TIME), captions._MIST)
    with wider_captions():
        assert captions._TIME["dusk"] != before[0]["dusk"]
    assert before == (captions._TIME, captions._MIST)


def test_every_value_that_the_lexicon_tells_has_wider_words() -> None:
    assert {name: set(values) for name, values in WIDER.items()} == {n: set(v) for n, v in UNSEEN.items()}


def test_lessons_tell_the_truth_and_are_the_same_every_time() -> None:
    once = lessons(3, wider=True)
    assert once == lessons(3, wider=True)
    assert all(getattr(scene, name) == value for batch in once for _, scene, t in batch for name, value in t.items())


def test_an_encoder_that_is_not_there_is_an_error() -> None:
    with pytest.raises(FileNotFoundError):
        Frozen(TINY, TINY / "nothing").reader("encoder")
