"""Drawing tokens: the right distribution, what top-k and top-p cut away, and noise that repeats."""

import pytest
import torch

from model.sampling import Sampling, SamplingRows, draw, guide, patch_noise

CPU = torch.device("cpu")


def draws(logits: torch.Tensor, sampling: Sampling, count: int = 20_000) -> torch.Tensor:
    """Shares with which each token is drawn over evenly spaced noise."""
    noise = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    tokens = draw(logits.expand(count, -1), noise, SamplingRows([sampling] * count, CPU))
    return torch.bincount(tokens, minlength=len(logits)) / count


LOGITS = torch.tensor([0.5, 2.0, -1.0, 1.0, 0.0])


def test_tokens_are_drawn_with_the_models_probabilities() -> None:
    assert torch.allclose(draws(LOGITS, Sampling()).float(), LOGITS.softmax(0), atol=1e-3)


def test_temperature_sharpens_as_dividing_the_logits_does() -> None:
    assert torch.allclose(draws(LOGITS, Sampling(temperature=0.5)).float(), (LOGITS * 2).softmax(0), atol=1e-3)


def test_temperature_zero_takes_the_likeliest() -> None:
    assert draws(LOGITS, Sampling(temperature=0.0))[1] == 1


def test_top_k_keeps_the_k_likeliest_in_proportion() -> None:
    expected = torch.where(LOGITS >= 1.0, LOGITS, float("-inf")).softmax(0)
    assert torch.allclose(draws(LOGITS, Sampling(top_k=2)).float(), expected, atol=1e-3)


def test_top_p_keeps_the_fewest_tokens_that_hold_the_probability() -> None:
    probs = LOGITS.softmax(0)  # sorted: 0.53, 0.20, 0.12, 0.07, ...
    kept = draws(LOGITS, Sampling(top_p=0.7)) > 0
    assert kept.tolist() == [False, True, False, True, False]
    assert probs[kept].sum() >= 0.7
    assert (draws(LOGITS, Sampling(top_p=1e-9)) > 0).sum() == 1, "the likeliest always stays"


def test_min_p_keeps_what_is_nearly_as_likely_as_the_likeliest() -> None:
    probs = LOGITS.softmax(0)
    kept = draws(LOGITS, Sampling(min_p=0.2)) > 0
    assert torch.equal(kept, probs >= 0.2 * probs.max())
    assert 1 < kept.sum() < len(LOGITS)
    assert (draws(LOGITS, Sampling(min_p=1.0)) > 0).sum() == 1, "the likeliest always stays"
    level = torch.zeros_like(LOGITS)
    assert (draws(level, Sampling(min_p=1.0)) > 0).all(), "among equals none goes"


def test_frames_after_the_first_have_a_min_p_of_their_own_and_no_guidance() -> None:
    film = Sampling(min_p=0.1, later_min_p=0.3, cfg_scale=4.0)
    assert [film.at(frame).min_p for frame in (0, 1, 5)] == [0.1, 0.3, 0.3]
    assert [film.at(frame).cfg_scale for frame in (0, 1, 5)] == [4.0, 1.0, 1.0]
    assert [film.at(frame).branches for frame in (0, 1, 5)] == [2, 1, 1]
    assert Sampling(min_p=0.5, later_min_p=0.3).at(1).min_p == 0.5
    assert Sampling().at(0) == Sampling().at(3) == Sampling()


@pytest.mark.parametrize("noise", [0.0, 1 - 2**-53])
def test_the_ends_of_the_noise_never_point_outside(noise: float) -> None:
    for sampling in (
        Sampling(),
        Sampling(top_k=2),
        Sampling(top_p=0.7),
        Sampling(min_p=0.3),
        Sampling(temperature=1e-3),
    ):
        token = draw(LOGITS[None], torch.tensor([noise], dtype=torch.float64), SamplingRows([sampling], CPU))
        assert 0 <= int(token) < 5


def test_rows_keep_their_own_parameters() -> None:
    rows = SamplingRows([Sampling(temperature=0.0), Sampling(top_k=1), Sampling()], CPU)
    tokens = draw(LOGITS.expand(3, -1), torch.tensor([0.99, 0.99, 0.999999], dtype=torch.float64), rows)
    assert tokens.tolist() == [1, 1, 2]


def test_guidance_of_one_is_off_and_more_moves_away_from_the_unconditional() -> None:
    a, b = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 0.5]])
    assert torch.equal(guide(a, b, torch.tensor([[1.0]])), a)
    assert torch.equal(guide(a, b, torch.tensor([[2.0]])), torch.tensor([[2.0, -0.5]]))


def test_noise_is_the_same_for_one_seed_and_place_and_no_other() -> None:
    first = patch_noise(7, 0, 3, 5, 64)
    assert torch.equal(first, patch_noise(7, 0, 3, 5, 64))
    assert torch.equal(first[:16], patch_noise(7, 0, 3, 5, 16)), "token j does not depend on how many there are"
    others = [patch_noise(8, 0, 3, 5, 64), patch_noise(7, 1, 3, 5, 64), patch_noise(7, 0, 5, 3, 64)]
    assert all(not torch.equal(first, other) for other in others)
    assert first.min() >= 0
    assert first.max() < 1
