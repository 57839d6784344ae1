"""One step of decoding: plain PyTorch against the native step, on one thread, and how far each is from the machine.

Random weights, every nearby patch present, guidance on, sampling as in pictures. Each round draws a batch of patches
and their states with one, then with the other; a step is a batch's time by tokens a patch, a figure the median of the
rounds. The roofline is the longer of two times: the step's arithmetic at the rate of a large matrix product, and its
memory, each number read once in 16 bits, at the rate of summing as many bytes; both rates are measured in the same
rounds.
"""

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, cast

import torch
import typer
from rich.console import Console
from rich.table import Table

from model.config import PRESETS, ModelConfig
from model.generate import Model, PatchDecoder, _Context
from model.native.step import NativeSteps
from model.sampling import Sampling, SamplingRows
from model.text import WordPieces
from model.tokenizer import Tokenizer
from model.transformer import Transformer

SAMPLING = Sampling(temperature=1.0, top_p=0.95, cfg_scale=3.0)
PRODUCT = 768  # side of the matrices whose product gives the arithmetic rate


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Processor and wall time. The processor time of one thread hardly depends on who else is busy."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - cpu, time.perf_counter() - wall


def random_transformer(config: ModelConfig) -> Transformer:
    torch.manual_seed(0)
    transformer = Transformer(config).eval().requires_grad_(False)
    for p in transformer.parameters():
        p.add_(torch.randn_like(p) * 0.02)
    return transformer


def random_context(config: ModelConfig, rows: int, nearby: int, words: int) -> _Context:
    """What `rows` rows look at when all of their nearby patches are there."""
    c = config.transformer
    tokens = words + nearby * c.tokens_per_patch
    return _Context(
        orders=["zeta"] * rows,
        conditions=torch.randn(rows, c.tokens_per_patch + 1, c.width) * 0.1,
        keys=torch.randn(c.depth, rows, c.heads, tokens, c.head_dim),
        values=torch.randn(c.depth, rows, c.heads, tokens, c.head_dim),
        mask=torch.ones(rows, tokens, dtype=torch.bool),
    )


def roofline(transformer: Transformer, rows: int, context: int, number_bytes: int) -> tuple[float, float]:
    """Arithmetic operations and bytes of one step, half-way through a patch."""
    c = transformer.config
    weights = 12 * c.width**2 * c.depth + transformer.codebook_size * c.width
    keys_values = 2 * (context + c.tokens_per_patch / 2) * c.width * c.depth
    return 2 * rows * (weights + keys_values), number_bytes * (weights + rows * keys_values)


def measure(config: ModelConfig, rows: int, nearby: int, words: int, rounds: int) -> dict[str, float]:
    """Medians of milliseconds a step for eager and native, by processor and wall, and of the machine's rates."""
    transformer = random_transformer(config)
    context = random_context(config, rows, nearby, words)
    slots, m = rows // 2, config.transformer.tokens_per_patch
    noise = torch.rand(slots, m, dtype=torch.float64)
    params = SamplingRows([SAMPLING] * slots, torch.device("cpu"))
    known = torch.full((slots, m), -1)
    model = Model(config, Tokenizer(config.tokenizer), transformer, cast(WordPieces, None), "random")  # no prompts here
    decoder, native = PatchDecoder(model, slots, step="torch"), NativeSteps(transformer)
    operations, moved = roofline(transformer, rows, context.mask.shape[1], 2)
    matrix, buffer = torch.randn(PRODUCT, PRODUCT), torch.randn(int(moved / 4))
    reads = max(1, int(128e6 / moved))
    works: dict[str, tuple[Callable[[], object], int]] = {
        "eager": (lambda: decoder._states(decoder._draw(context, noise, params, known), context), m),
        "native": (lambda: native(context, params, noise, known), m),
        "product": (lambda: matrix @ matrix, 1),
        "read": (lambda: [buffer.sum() for _ in range(reads)], reads),
    }
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
    with torch.inference_mode():
        for _ in range(rounds + 1):
            for name, (work, times) in works.items():
                cpu, wall = seconds(work)
                taken[name].append((cpu / times, wall / times))
    cpu, wall = (
        {name: statistics.median(pair[i] for pair in pairs[1:]) for name, pairs in taken.items()} for i in (0, 1)
    )
    gflops, gigabytes = 2 * PRODUCT**3 / cpu["product"] / 1e9, moved / cpu["read"] / 1e9
    least = max(operations / gflops, moved / gigabytes) / 1e9
    return {
        "rows": rows,
        "keys": context.mask.shape[1] + m,
        "eager_ms": 1e3 * cpu["eager"],
        "native_ms": 1e3 * cpu["native"],
        "eager_wall_ms": 1e3 * wall["eager"],
        "native_wall_ms": 1e3 * wall["native"],
        "faster": statistics.median(e[0] / n[0] for e, n in zip(taken["eager"], taken["native"], strict=True)),
        "tokens_a_second": slots / cpu["native"],
        "gflops": gflops,
        "gigabytes_a_second": gigabytes,
        "roofline_ms": 1e3 * least,
        "eager_share": least / cpu["eager"],
        "native_share": least / cpu["native"],
    }


def main(
    preset: Annotated[str, typer.Option(help="Whose codebook, patch and text; the next three may differ.")] = "tiny",
    width: Annotated[int, typer.Option(help="0: the preset's.")] = 0,
    depth: Annotated[int, typer.Option(help="0: the preset's.")] = 0,
    heads: Annotated[int, typer.Option(help="0: the preset's.")] = 0,
    nearby: Annotated[int, typer.Option(help="Nearby patches: 4 for pictures, 13 for films at extent 1.")] = 4,
    rows: Annotated[list[int] | None, typer.Option(help="Two for each patch.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Alternations that count.")] = 5,
    output: Annotated[typer.FileText | None, typer.Option(mode="w", help="Also as JSON, here.")] = None,
) -> None:
    """Measure the token loop on this machine's processor, one thread."""
    torch.set_num_threads(1)
    config = PRESETS[preset]
    shape = {k: v for k, v in (("width", width), ("depth", depth), ("heads", heads)) if v}
    config = replace(config, transformer=replace(config.transformer, **shape))
    t = config.transformer
    results = [measure(config, n, nearby, t.text_tokens + 1, rounds) for n in rows or (2, 8, 16, 32)]
    title = f"width {t.width}, depth {t.depth}, heads {t.heads}, {results[0]['keys']} keys, medians of {rounds}"
    table = Table(title=f"{title}; processor time, one thread")
    columns = {
        "rows": "{:.0f}",
        "eager_ms": "{:.2f}",
        "native_ms": "{:.2f}",
        "native_wall_ms": "{:.2f}",
        "faster": "{:.1f}x",
        "tokens_a_second": "{:.0f}",
        "roofline_ms": "{:.2f}",
        "eager_share": "{:.2f}",
        "native_share": "{:.2f}",
        "gflops": "{:.0f}",
        "gigabytes_a_second": "{:.0f}",
    }
    for column in columns:
        table.add_column(column.replace("_", " "), justify="right")
    for result in results:
        table.add_row(*(form.format(result[name]) for name, form in columns.items()))
    Console(width=140).print(table)
    if output:
        json.dump(results, output, indent=2)


if __name__ == "__main__":
    typer.run(main)
