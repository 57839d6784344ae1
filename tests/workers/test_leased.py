"""A worker keeps no picture in memory, and no file of one that it let go of."""

import asyncio
import tracemalloc
from typing import Any

import pytest

from jobs.broker.memory import MemoryBroker
from jobs.job import JobStatus
from workers.spool import PatchSpool
from workers.tile_engine import TileEngine

pytestmark = pytest.mark.anyio


@pytest.fixture
def spools(monkeypatch: pytest.MonkeyPatch) -> list[PatchSpool]:
    """All that a worker makes."""
    made: list[PatchSpool] = []

    class Seen(PatchSpool):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            made.append(self)

    monkeypatch.setattr("workers.leased.PatchSpool", Seen)
    return made


async def peak_of(bench: Any, width: int, height: int) -> int:
    """Most bytes in use while a worker draws a picture and stores it."""
    broker, job = MemoryBroker(), bench.job(f"job-{width}", width, height, patch_px=256)
    await bench.submit(broker, job)
    tracemalloc.start()
    try:
        async with bench.working(broker, TileEngine(slots=4, pages=4000, patch_px=256)):
            [state] = await bench.until_ended(broker, job)
        assert state.status is JobStatus.SUCCEEDED
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


async def test_memory_does_not_grow_with_the_picture(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The patches' own images are left out: the broker of this test has them in memory, Redis elsewhere."""
    monkeypatch.setattr("workers.leased.encode_webp", lambda pixels: b"")
    small = await peak_of(bench, 512, 2048)
    large = await peak_of(bench, 4096, 2048)
    assert large < small + 2e6, "22 MB more if it were held"


@pytest.mark.parametrize("end", ["finished", "canceled", "failed", "drained", "killed"])
async def test_a_jobs_pixels_are_let_go_of_with_the_job(bench: Any, limits: Any, spools: Any, end: str) -> None:
    broker, job, drawn = MemoryBroker(limits), bench.extended("job"), asyncio.Event()
    loop = asyncio.get_running_loop()
    batches = 0

    def before_decode(_: Any) -> None:
        nonlocal batches
        batches += 1
        if batches > 6:
            loop.call_soon_threadsafe(drawn.set)
            if end == "failed":
                raise RuntimeError("broken")

    await bench.submit(broker, job)
    worker = bench.worker(broker, bench.Tiles(before_decode=before_decode))
    task = asyncio.create_task(worker.run())
    await asyncio.wait_for(drawn.wait(), 20)
    assert spools[0]._files
    if end == "canceled":
        await broker.cancel(job.id)
    if end == "drained":
        worker.drain()
        await task
    elif end == "killed":
        await bench.kill(task)
    else:
        [state] = await bench.until_ended(broker, job)
        assert state.status.value == {"finished": "succeeded"}.get(end, end)
        worker.drain()
        await task
    worker._drawing.close(wait=True)
    worker._painter.thread.close(wait=True)
    assert not any(spool._files for spool in spools)
    kept = {path.name for path in bench.store.workspace().iterdir()}
    assert kept == {"job.given"} | ({"job.result"} if end == "finished" else set())
