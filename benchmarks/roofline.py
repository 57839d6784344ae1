"""How far from this machine's limits a step is, by the number of rows.

The limit is the longer of two times: the step's arithmetic at the rate of a large matrix product, and its memory, each
number read once, at the rate of reading as many bytes over and over, as often as there are steps. Both rates are taken
in the same rounds. A step is PatchDecoder.decode() by M, so that gathering, sampling and keeping states count against
us.
"""

import contextlib
import mmap
import statistics
from functools import partial

import torch
from torch import Tensor

from benchmarks.measure import alternate, timed
from benchmarks.models import LITTLE, MEASURED, Desk, is_native, random_model
from benchmarks.parts import Bench
from model.config import TransformerConfig

ROWS = (1, 4, 8, 16, 32)
GOALS = {1: 0.85, 4: 0.85, 8: 0.75, 16: 0.75, 32: 0.75}
PRODUCT, PRODUCTS = 1024, 4  # side of the matrices: the best rate of sizes tried
STREAMS = (2, 4, 8)  # read side by side: the fastest counts


def needs(
    config: TransformerConfig, vocabulary: int, rows: int, context: int, number_bytes: int
) -> tuple[float, float]:
    """Arithmetic operations and bytes of one step half-way through a patch, with `context` keys before it."""
    weights = 12 * config.width**2 * config.depth + vocabulary * config.width
    keys_values = 2 * (context + config.tokens_per_patch / 2) * config.width * config.depth
    return 2.0 * rows * (weights + keys_values), number_bytes * (weights + rows * keys_values)


def measure(bench: Bench) -> None:
    model = random_model(LITTLE if bench.quick else MEASURED)
    config = model.config.transformer
    rounds, tokens = 2 if bench.quick else 5, config.tokens_per_patch
    bench.total(len(ROWS) * rounds * (2 + len(STREAMS)))
    rates: list[float] = []
    for rows in ROWS:
        desk = Desk(model, rows)
        number_bytes = 2 if is_native() else 4
        operations, moved = needs(config, model.transformer.codebook_size, rows, desk.context, number_bytes)
        matrix, memory = torch.randn(PRODUCT, PRODUCT), _memory(int(moved))
        works = {
            "draw": timed(desk.draw),
            "product": timed(partial(_multiply, matrix)),
            **{f"read {n}": timed(partial(_read, memory, n, tokens)) for n in STREAMS},
        }
        median = {name: statistics.median(taken) for name, taken in alternate(works, rounds, bench.step).items()}
        arithmetic = PRODUCTS * 2 * PRODUCT**3 / median["product"]
        bandwidth = tokens * moved / min(median[f"read {n}"] for n in STREAMS)
        step = median["draw"] / tokens
        least = max(operations / arithmetic, moved / bandwidth)
        rates.append(arithmetic)
        bench.row(f"read_rate_{rows}", bandwidth / 1e9, "GB/s", "higher")
        bench.row(f"step_{rows}", 1e3 * step, "ms", "lower")
        bench.row(f"least_step_{rows}", 1e3 * least, "ms", "lower")
        bench.row(f"share_{rows}", least / step, "of the limit", "higher", GOALS[rows])
    bench.row("product_rate", statistics.median(rates) / 1e9, "GFLOP/s", "higher")


def _memory(size: int) -> Tensor:
    """So many bytes, in large pages where the system has them: reading them is the machine's best."""
    memory = mmap.mmap(-1, size // 64 * 64, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)  # shared has no large pages
    with contextlib.suppress(AttributeError, OSError):
        memory.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(memory, dtype=torch.float32).fill_(1.0)


def _multiply(matrix: Tensor) -> None:
    for _ in range(PRODUCTS):
        matrix @ matrix


def _read(memory: Tensor, streams: int, times: int) -> None:
    """Every number once, so many times, in pairs of streams."""
    parts = memory.view(streams, -1)
    for _ in range(times):
        for n in range(0, streams, 2):
            torch.dot(parts[n], parts[n + 1])
