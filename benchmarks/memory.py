"""Peak memory of worker and gateway by the length of the canvas: it must not grow with it.

A real worker and gateway draw pictures of 8 patches by so many rows, with a small random model, because 4,096 patches
of a large one take minutes: what could grow (tokens, pixels, events, book-keeping) is the same. A gateway keeps events
that it has sent for the next viewer, 32 MB at most, whatever the picture's size.
"""

import asyncio
import tempfile
from pathlib import Path

from benchmarks.models import LITTLE, SHIPPED, random_model
from benchmarks.parts import Bench
from benchmarks.served import peak_bytes, served
from benchmarks.viewer import Seen, client, watch
from model.loader import WORDS, save

COLUMNS = 8
ROWS = (16, 512)
GOAL = 1.02
DRAWING_S = 240.0  # for the longest canvas, at most
MEGABYTE = 1e6


def measure(bench: Bench) -> None:
    lengths = (4, 16) if bench.quick else ROWS
    bench.total(len(lengths))
    peaks: dict[str, list[int]] = {"worker": [], "gateway": []}
    with tempfile.TemporaryDirectory(prefix="nuwa-weights-") as folder:
        model = random_model(LITTLE)
        save(Path(folder), model.config, model.tokenizer, model.transformer, SHIPPED / WORDS)
        for rows in lengths:
            with served(Path(folder)) as service:
                asyncio.run(_draw(service.url, rows, model.config.patch_px))
                for name, sizes in peaks.items():
                    sizes.append(peak_bytes(getattr(service, name)))
                    bench.row(f"{name}_{rows}_rows", sizes[-1] / MEGABYTE, "MB", "lower")
            bench.step()
    for name, (short, long) in peaks.items():
        goal = GOAL if name == "worker" else None  # a gateway fills a cache of fixed size first (server/feeds.py)
        bench.row(f"{name}_growth", long / short, f"times {lengths[0]} rows", "lower", goal)


async def _draw(url: str, rows: int, patch_px: int) -> Seen:
    """The order is the one that rows count in: `omega` would take the long side as the fast one."""
    async with client(url) as http:
        return await watch(http, COLUMNS * patch_px, rows * patch_px, seed=0, order="zeta", limit_s=DRAWING_S)
