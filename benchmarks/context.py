"""What the Nearby Context Pool saves: a patch that looks at its neighbours against one that looks at all before it.

With full context a patch's M tokens look at every earlier token. Two ways: `cached`, where keys and values of all
patches are kept; `recomputed`, where nothing is kept, and all patches are encoded again for each new one. Both are the
plain loop of peers.py in our size, and so is what they are compared with: the same loop with the four patches that the
pool holds for it; only the context differs. They are timed on samples: a few steps; and of one layer, stretches of
queries at four places among the keys, times how often such a stretch comes. So they are estimates.

Growth is measured, on a canvas that is really drawn beyond patch 4,096, one patch at a time, with a small model, so
that whatever grows with the canvas has the greatest share.
"""

import statistics

import torch
from torch import Tensor

from benchmarks.measure import alternate, median_ratio, timed
from benchmarks.models import LITTLE, MEASURED, Desk, random_model
from benchmarks.parts import Bench
from benchmarks.peers import PlainLoop, angles_of
from benchmarks.wavefront import Drawing
from model.generate import PatchDecoder

PATCHES = (1, 16, 256, 4096)
ROUNDS = 5
STEPS = 4  # of a patch with full context, times M / STEPS
STRETCH = 256  # queries of a sample
PLACES = (1 / 8, 3 / 8, 5 / 8, 7 / 8)  # of samples, among the keys
SHARED = 256  # from more patches on, all layers share one layer's keys and values: 6 GB would be wanted otherwise
NEARBY = 4  # patches
COLUMNS = 8
NEAR = range(8, 32)  # patches that stand for patch 16
GOAL_GROWTH = 1.03


def measure(bench: Bench) -> None:
    patches, far, again = (PATCHES[:3], 256, 1) if bench.quick else (PATCHES, 4096, 20)
    bench.total(ROUNDS + 2 * len(patches) + far + again * len(NEAR))
    model = random_model(LITTLE if bench.quick else MEASURED)
    pool = statistics.median(alternate({"pool": timed(Desk(model, rows=1).draw)}, ROUNDS, bench.step)["pool"])
    bench.row("nuwa", pool, "s/patch", "lower")
    loop = PlainLoop(model.config.transformer, model.transformer.codebook_size)
    tokens = model.config.transformer.tokens_per_patch
    nearby = _cached(loop, _cache(loop, NEARBY, tokens), NEARBY * tokens, tokens)
    bench.row("nearby", nearby, "s/patch", "lower")
    for count in patches:
        cache = _cache(loop, count, tokens)
        cached = _cached(loop, cache, count * tokens, tokens)
        bench.step()
        recomputed = cached + _encoding(loop, cache[0], count * tokens)
        bench.step()
        bench.row(f"cached_{count}", cached, "s/patch", "lower")
        bench.row(f"recomputed_{count}", recomputed, "s/patch", "lower")
        bench.row(f"cached_over_nearby_{count}", cached / nearby, "times", "higher")
        bench.row(f"recomputed_over_nearby_{count}", recomputed / nearby, "times", "higher")
    bench.row(f"growth_{far}", _growth(bench, far, again), "times patch 16", "lower", GOAL_GROWTH)


def _cache(loop: PlainLoop, patches: int, tokens: int) -> list[tuple[Tensor, Tensor]]:
    keys = (patches + 1) * tokens
    return loop.cache(1, keys) if patches <= SHARED else loop.cache(1, keys, layers=1) * len(loop.layers)


def _cached(loop: PlainLoop, cache: list[tuple[Tensor, Tensor]], keys: int, tokens: int) -> float:
    """Seconds for the tokens of a patch with so many keys before it."""
    first = torch.zeros(1, 1, dtype=torch.long)
    works = {"steps": timed(lambda: loop.steps(first, keys, STEPS, cache))}
    return statistics.median(alternate(works, 3)["steps"]) * tokens / STEPS


def _encoding(loop: PlainLoop, cache: tuple[Tensor, Tensor], keys: int) -> float:
    """Seconds for encoding so many tokens, each of which looks at all before it."""
    queries = min(STRETCH, keys)
    x = torch.randn(1, queries, loop.table.embedding_dim)
    starts = [round(place * (keys - queries)) for place in PLACES]
    works = {
        str(n): timed(lambda start=start: loop.layers[0](x, start, angles_of(start, queries, loop.head_dim), *cache))
        for n, start in enumerate(starts)
    }
    sample = statistics.mean(statistics.median(taken) for taken in alternate(works, 1).values())
    return len(loop.layers) * sample * keys / queries


def _growth(bench: Bench, far: int, again: int) -> float:
    """Time of a patch beyond `far`, over that of one around 16 of a young canvas; both in turn, in the same columns.

    One decoder draws both: where its memory happens to lie moves a step by more than what is looked for.
    """
    model = random_model(LITTLE)
    decoder = PatchDecoder(model, slots=1, pages=8 * COLUMNS)
    rows = (far + again * len(NEAR)) // COLUMNS + 1
    old = Drawing(model, rows, COLUMNS, slots=1, decoder=decoder, name="old")
    for _ in range(far):
        old.advance()
        bench.step()
    seconds: dict[str, list[float]] = {"old": [], "young": []}
    for _ in range(again):
        young = Drawing(model, NEAR.stop // COLUMNS + 1, COLUMNS, slots=1, decoder=decoder, name="young")
        for _ in range(NEAR.start):
            young.advance()
        for _ in NEAR:
            seconds["old"].append(old.advance())
            seconds["young"].append(young.advance())
            bench.step()
        young.forget()
    return median_ratio(seconds["old"], seconds["young"])
