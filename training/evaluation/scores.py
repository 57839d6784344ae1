"""How well pictures show what their prompts say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 2000


@dataclass(frozen=True)
class AttributeScores:
    """Shares in [0, 1]. `share` and its interval are None where no ceiling was given."""

    accuracy: dict[str, float]  # attribute -> share of prompts stating it whose picture shows it
    stated: dict[str, int]  # attribute -> number of prompts stating it
    mean: float  # over all stated attributes of all prompts
    interval: tuple[float, float]  # of the mean: 95 %, by drawing prompts anew
    share: float | None = None  # the mean as a share of what the classifier could have read
    share_interval: tuple[float, float] | None = None


def attribute_scores(
    expected: Sequence[Mapping[str, str]],
    predicted: Sequence[Mapping[str, str]],
    ceiling: Mapping[str, float] | None = None,
    seed: int = 0,
) -> AttributeScores:
    """Compare what prompts state with what was read off their pictures.

    expected: stated values of each prompt.  predicted: readings of each picture, of all stated attributes at least.
    ceiling: attribute -> the classifier's accuracy on rendered scenes; its mean is weighted as the stated attributes
    are, and its own error is not part of the interval. Raises ValueError when nothing is stated, the numbers differ,
    or the ceiling lacks an attribute.
    """
    names = sorted({name for stated in expected for name in stated})
    if not names:
        raise ValueError("no prompt states any attribute")
    if missing := [name for name in names if ceiling is not None and name not in ceiling]:
        raise ValueError(f"the ceiling lacks {', '.join(missing)}")
    pairs = list(zip(expected, predicted, strict=True))
    stated = np.array([[name in e for name in names] for e, _ in pairs])
    right = np.array([[name in e and e[name] == p[name] for name in names] for e, p in pairs])
    reachable = stated @ np.array([1.0 if ceiling is None else ceiling[name] for name in names])  # of each prompt

    drawn = np.random.default_rng(seed).integers(len(pairs), size=(RESAMPLES, len(pairs)))
    hits = right.sum(1)[drawn].sum(1)
    means = hits / np.maximum(stated.sum(1)[drawn].sum(1), 1)
    shares = hits / np.maximum(reachable[drawn].sum(1), 1e-9)
    return AttributeScores(
        accuracy={n: float(right[:, i].sum() / stated[:, i].sum()) for i, n in enumerate(names)},
        stated={n: int(stated[:, i].sum()) for i, n in enumerate(names)},
        mean=float(right.sum() / stated.sum()),
        interval=_middle(means),
        share=None if ceiling is None else float(right.sum() / reachable.sum()),
        share_interval=None if ceiling is None else _middle(shares),
    )


def _middle(values: np.ndarray) -> tuple[float, float]:
    """The interval that holds the middle 95 % of the values."""
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)


@dataclass(frozen=True)
class SwapScore:
    """Shares in [0, 1] over pairs of prompts with two attributes swapped."""

    follows: float  # pairs of which all four readings are as the words say
    readings: float  # single readings that are as the words say
    exchanged: float  # single readings that are what the other prompt of the pair says


def swap_score(
    expected: Sequence[tuple[Mapping[str, str], Mapping[str, str]]],
    predicted: Sequence[tuple[Mapping[str, str], Mapping[str, str]]],
) -> SwapScore:
    """Do readings follow the words when two attributes change places between two prompts?

    A pair follows when both pictures show both of the values their own prompt states: with readings of 90 % each, by
    chance of independent errors, two pairs in three would. `exchanged` tells pictures that mixed up whose value is
    whose from pictures that show neither. Both prompts of a pair state the same attributes, with different values.
    Raises ValueError when there are no pairs or the numbers differ.
    """
    if not expected:
        raise ValueError("there are no pairs")
    follows, own, other, readings = 0, 0, 0, 0
    for (first, second), (read_first, read_second) in zip(expected, predicted, strict=True):
        rows = [(first, second, read_first), (second, first, read_second)]
        right = [read[name] == says[name] for says, _, read in rows for name in says]
        other += sum(read[name] == wrong[name] for says, wrong, read in rows for name in says)
        follows += all(right)
        own += sum(right)
        readings += len(right)
    return SwapScore(follows / len(expected), own / readings, other / readings)
