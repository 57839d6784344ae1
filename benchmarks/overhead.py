"""What equal bytes for equal seeds cost, and what a step spends on anything but the model.

Padding: a lone patch decoded by a decoder of four slots, against one of one slot. Canonical states: native code takes
the steps that draw and one more, which leaves the last token's states; PyTorch makes a pass over the finished patch,
whose time prefill() shows. Sampling: drawing against always taking the likeliest token, which needs neither
exponentials nor a sort; with a small model of as many codes, where the difference stands out. Noise and scheduling are
timed by themselves.
"""

import statistics
from dataclasses import replace

from benchmarks.measure import alternate, median_ratio, timed
from benchmarks.models import DRAWN, LITTLE, MEASURED, Desk, is_native, random_model
from benchmarks.parts import Bench
from canvas.grid import Extent, Grid
from canvas.order import ZETA
from canvas.plan import compile_plan, pages_needed
from model.sampling import patch_noise
from workers.scheduler import PatchScheduler

SLOTS = 4
DECODERS = 4
GOAL_PERCENT = 5.0
GOAL_SHARE = 0.05


def measure(bench: Bench) -> None:
    rounds = 3 if bench.quick else 9
    model = random_model(LITTLE if bench.quick else MEASURED)
    tokens = model.config.transformer.tokens_per_patch
    # Where memory happens to lie moves a step by some percent, hence several decoders of each kind.
    alone, padded = ([Desk(model, rows=1, slots=slots) for _ in range(DECODERS)] for slots in (1, SLOTS))
    full = Desk(model, rows=SLOTS)
    little = random_model(LITTLE)
    drawing, greedy = Desk(little, rows=SLOTS), Desk(little, rows=SLOTS, sampling=replace(DRAWN, temperature=0.0))
    works = {
        "alone": timed(lambda: [desk.draw() for desk in alone]),
        "padded": timed(lambda: [desk.draw() for desk in padded]),
        "prefill": timed(lambda: [desk.prefill() for desk in alone]),
        "full": timed(full.draw),
        "drawing": timed(drawing.draw),
        "greedy": timed(greedy.draw),
        "noise": timed(lambda: [patch_noise(0, 0, 0, n, tokens) for n in range(SLOTS)]),
        "scheduling": timed(_draw_nothing),
    }
    bench.total(rounds * len(works))
    taken = alternate(works, rounds, bench.step)
    seconds = {name: statistics.median(times) for name, times in taken.items()}
    padding = 100 * (median_ratio(taken["padded"], taken["alone"]) - 1)
    canonical = 100 / tokens if is_native() else 100 * seconds["prefill"] / (seconds["alone"] - seconds["prefill"])
    bench.row("padding", padding, "%", "lower")
    bench.row("canonical_states", canonical, "%", "lower")
    bench.row("determinism", max(0.0, padding) + canonical, "%", "lower", GOAL_PERCENT)
    batches = compile_plan(_GRID, ZETA, _EXTENT).rounds
    shares = {
        "sampling": max(0.0, seconds["drawing"] - seconds["greedy"]) / seconds["full"],
        "noise": seconds["noise"] / seconds["full"],
        "scheduling": seconds["scheduling"] / batches / seconds["full"],
    }
    for name, share in shares.items():
        bench.row(name, share, "of a step", "lower")
    bench.row("host", sum(shares.values()), "of a step", "lower", GOAL_SHARE)


_GRID, _EXTENT = Grid(frames=1, rows=8, columns=8, patch_px=64), Extent(1, 1, 1)


def _draw_nothing() -> None:
    """All that the scheduler does for a picture of 8x8."""
    plan = compile_plan(_GRID, ZETA, _EXTENT)
    pages = pages_needed(plan, SLOTS)
    scheduler = PatchScheduler(SLOTS, pages)
    scheduler.add("job", plan, pages)
    scheduler.admit()
    while batch := scheduler.schedule():
        scheduler.complete(batch)
