"""How time is taken."""

import gc

import pytest

from benchmarks.measure import alternate, median_ratio, percentile, timed


def test_works_take_turns_in_every_round():
    order: list[str] = []

    def work(name: str, seconds: float):
        def run() -> float:
            order.append(name)
            return seconds

        return run

    seconds = alternate({"a": work("a", 1.0), "b": work("b", 2.0)}, rounds=3)
    assert order == ["a", "b"] * 3
    assert seconds == {"a": [1.0] * 3, "b": [2.0] * 3}


def test_garbage_is_collected_again_even_after_a_work_that_fails():
    def fail() -> float:
        assert not gc.isenabled()
        raise OSError

    with pytest.raises(OSError):
        alternate({"fail": fail}, rounds=1)
    assert gc.isenabled()


def test_a_ratio_is_of_neighbours_so_that_a_slow_spell_does_not_count():
    assert median_ratio([2.0, 20.0, 2.0], [1.0, 10.0, 1.0]) == 2.0


def test_percentile_is_the_nearest_rank():
    values = [float(n) for n in range(1, 41)]
    assert percentile(values, 0.95) == 38.0
    assert percentile(values, 0.5) == 20.0
    assert percentile([3.0], 0.95) == 3.0


def test_timed_calls_once():
    calls: list[int] = []
    assert timed(lambda: calls.append(1))() >= 0
    assert calls == [1]
