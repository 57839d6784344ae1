"""The worker with neither Redis nor a gateway: its broker is in its own memory, and nobody watches.

`python -m benchmarks.bare_worker WIDTH HEIGHT`: for each seed on a line of standard input one picture, and on standard
output a line with the seconds that it took. The settings are a worker's.
"""

import asyncio
import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.models import PROMPT
from canvas.controller import choose_orders
from canvas.grid import Extent
from jobs.broker.base import LOG_START
from jobs.broker.memory import MemoryBroker
from jobs.broker.rules import end_status
from jobs.events import JobFinished
from jobs.job import Job, ModelInfo, layout_of
from jobs.request import GenerateRequest
from jobs.settings import WorkerSettings, load_settings
from jobs.store import FolderStore

READY = "ready"


@dataclass(frozen=True)
class BareWorker:
    """A process of this module, which is ready."""

    process: subprocess.Popen[str]

    def seconds(self, seed: int) -> float:
        """Draw one picture. Raises RuntimeError when the process has ended."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{seed}\n")
        self.process.stdin.flush()
        return float(self.said())

    def said(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the bare worker ended with {self.process.wait()}")
        return line.strip()


@contextlib.contextmanager
def bare_worker(width: int, height: int) -> Iterator[BareWorker]:
    command = [sys.executable, "-m", "benchmarks.bare_worker", str(width), str(height)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        worker = BareWorker(process)
        try:
            if (said := worker.said()) != READY:
                raise RuntimeError(f"the bare worker said {said!r}")
            yield worker
        finally:
            process.terminate()


async def _serve(width: int, height: int) -> None:
    from workers.loop import Worker
    from workers.main import load_engine, processors

    engine, broker = load_engine(load_settings(WorkerSettings)), MemoryBroker()
    with tempfile.TemporaryDirectory(prefix="nuwa-bench-") as folder:
        worker = Worker(broker, FolderStore(Path(folder)), engine, name="bare", ahead=processors() > 1)
        running = asyncio.create_task(worker.run())
        print(READY, flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            started = time.perf_counter()
            await _draw(
                broker, engine.model, GenerateRequest(prompt=PROMPT, width=width, height=height, seed=int(line))
            )
            print(time.perf_counter() - started, flush=True)
        worker.drain()
        await running


async def _draw(broker: MemoryBroker, model: ModelInfo, request: GenerateRequest) -> None:
    """Raises RuntimeError when it does not end well."""
    assert request.seed is not None
    layout = layout_of(request, model.patch_px, None)
    job = Job(
        id=f"bare-{request.seed}-{time.time_ns()}",
        request=request,
        seed=request.seed,
        order="+".join(choose_orders(layout, Extent(*model.extent), model.orders)),
        model=model.name,
        patch_px=model.patch_px,
        created_at=datetime.now(UTC),
    )
    await broker.submit(job, job.total)
    cursor, last = LOG_START, None
    while last is None or end_status(last) is None:
        await broker.wait({job.id: cursor}, 1.0)
        for logged in await broker.read(job.id, cursor):
            cursor, last = logged.id, logged.event
    if not isinstance(last, JobFinished):
        raise RuntimeError(f"the picture ended with {last}")


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), int(sys.argv[2])))
