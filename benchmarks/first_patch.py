"""How long a person waits: time to the first patch and to the picture, patches a second, memory. `make bench`.

Starts `nuwa serve` on a free port with a data folder of its own, asks for pictures one after another over the event
stream, and prints the median, least and greatest of each figure. One picture is made before, so nothing is cold.
"""

import contextlib
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Annotated

import httpx
import psutil
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

SILENCE_S = 120.0
MEGABYTE = 1e6


@contextlib.contextmanager
def served() -> Iterator[tuple[str, psutil.Process]]:
    """The address of a server that lives as long as this context, and its process."""
    with tempfile.TemporaryDirectory(prefix="nuwa-bench-") as data:
        command = [sys.executable, "-m", "cli.main", "serve", "--port", "0", "--no-open", "--data", data]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if ready := re.search(r"Ready: (http\S+)", line):
                    yield ready[1], psutil.Process(process.pid)
                    return
            raise SystemExit("the server did not start; `make serve` tells why")
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def picture(client: httpx.Client, width: int, height: int, seed: int) -> dict[str, float]:
    """Seconds from the request to the first patch and to the end, and patches a second in between."""
    body = {"prompt": "snowy mountains at sunset with a lake", "width": width, "height": height, "seed": seed}
    started = time.perf_counter()
    with client.stream("POST", "/generate", json=body, headers={"Accept": "text/event-stream"}) as response:
        response.raise_for_status()
        arrivals = [time.perf_counter() - started for line in response.iter_lines() if line == "event: patch"]
    ended = time.perf_counter() - started
    return {"first patch, s": arrivals[0], "picture, s": ended, "patches a second": len(arrivals) / ended}


def memory(server: psutil.Process) -> dict[str, float]:
    """Resident megabytes of the gateway and the worker."""
    sizes = {}
    for child in server.children(recursive=True):
        line = " ".join(child.cmdline())
        for role in ("gateway", "worker"):
            if f"cli.main {role}" in line:
                sizes[f"{role}, MB"] = child.memory_info().rss / MEGABYTE
    return sizes


def main(
    width: Annotated[int, typer.Option(min=1, help="Pixels.")] = 512,
    height: Annotated[int, typer.Option(min=1, help="Pixels.")] = 256,
    runs: Annotated[int, typer.Option(min=1, help="Pictures that count.")] = 5,
) -> None:
    """Measure the whole server, as a browser sees it, on this machine."""
    rows: list[dict[str, float]] = []
    with served() as (url, process), httpx.Client(base_url=url, timeout=SILENCE_S) as client:
        picture(client, width, height, seed=0)
        for seed in track(range(1, runs + 1), "pictures", console=Console(stderr=True)):
            rows.append(picture(client, width, height, seed) | memory(process))  # noqa: PERF401 - one at a time, with a bar
    table = Table(title=f"{width}x{height} pixels, {runs} pictures")
    for column in ("", "median", "least", "greatest"):
        table.add_column(column, justify="left" if not column else "right")
    for name in rows[0]:
        values = [row[name] for row in rows]
        table.add_row(name, *(f"{figure:.2f}" for figure in (statistics.median(values), min(values), max(values))))
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
