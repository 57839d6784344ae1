"""How time is taken: works that alternate, so that what disturbs one disturbs all, and medians of the rounds.

Seconds are processor time of this process, which draws on one thread: on a quiet machine those of the clock on the
wall, on a busy one what hardly depends on the others. Only the service is measured by the clock on the wall.
"""

import gc
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence

Work = Callable[[], float]  # does something once and returns the seconds that it took


def timed(work: Callable[[], object]) -> Work:
    """A work whose seconds are those of the whole call."""

    def run() -> float:
        started = time.process_time()
        work()
        return time.process_time() - started

    return run


def alternate(
    works: Mapping[str, Work], rounds: int, step: Callable[[], None] = lambda: None
) -> dict[str, list[float]]:
    """Seconds of each work in each round: every round does all works once, in turn.

    step: called after each work.
    """
    seconds: dict[str, list[float]] = {name: [] for name in works}
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()  # else its pauses fall on whoever comes next
    try:
        for _ in range(rounds):
            for name, work in works.items():
                seconds[name].append(work())
                step()
    finally:
        if was_enabled:
            gc.enable()
    return seconds


def median_ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """The median over rounds of above / below, each pair taken one after the other."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def percentile(values: Sequence[float], share: float) -> float:
    """The least value that at least this share of all does not exceed (nearest rank)."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
