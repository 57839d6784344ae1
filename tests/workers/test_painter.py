"""Pixels are painted in a thread of their own while the next tokens are drawn: what may overlap, and what may not."""

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from canvas.grid import Patch
from jobs.broker.memory import MemoryBroker
from jobs.events import JobCanceled, JobFailed, PatchEvent
from jobs.job import JobStatus
from workers.loop import Worker

pytestmark = pytest.mark.anyio


class Held:
    """Tiles whose pixels wait for `go_on` from their third call on, which sets `begun`: the first ones of a patch."""

    def __init__(self, bench: Any) -> None:
        self.begun, self.go_on = threading.Event(), threading.Event()
        self.batches: list[list[Any]] = []
        self.painted: list[Patch] = []
        self.engine = bench.Tiles(before_decode=self.batches.append, before_pixels=self._wait)

    def _wait(self, job_id: str, patches: Sequence[Patch]) -> None:
        self.painted += patches
        if len(self.painted) >= 3:
            self.begun.set()
            assert self.go_on.wait(20)

    @property
    def ahead(self) -> int:
        """Batches drawn after the one whose pixels wait."""
        [number] = [n for n, batch in enumerate(self.batches, start=1) if ("job", self.painted[-1]) in batch]
        return len(self.batches) - number


async def until_let_go_of(worker: Worker, how: str) -> None:
    name, labels, ended = "nuwa_worker_jobs_ended_total", {"how": how}, worker.metrics.registry.get_sample_value
    async with asyncio.timeout(20):
        while not ended(name, labels):  # noqa: ASYNC110 - nothing is told of it
            await asyncio.sleep(0.01)


async def test_two_batches_are_drawn_while_pixels_are_painted_and_the_one_after_them_waits(limits, bench) -> None:
    broker, job, held = MemoryBroker(limits), bench.job("job", 96, 96), Held(bench)
    await bench.submit(broker, job)
    async with bench.working(broker, held.engine):
        assert await asyncio.to_thread(held.begun.wait, 20)
        await asyncio.sleep(0.2)
        assert held.ahead == 2
        held.go_on.set()
        await bench.until_ended(broker, job)
    assert await bench.check_finished(broker, job) == await bench.alone(job)


async def test_a_worker_that_does_not_draw_ahead_waits_for_all_pixels_and_gives_the_same_bytes(limits, bench) -> None:
    broker, job, held = MemoryBroker(limits), bench.job("job", 96, 96), Held(bench)
    await bench.submit(broker, job)
    worker = bench.worker(broker, held.engine, ahead=False)
    task = asyncio.create_task(worker.run())
    assert await asyncio.to_thread(held.begun.wait, 20)
    await asyncio.sleep(0.2)
    assert held.ahead == 0
    held.go_on.set()
    await bench.until_ended(broker, job)
    await bench.kill(task)
    assert await bench.check_finished(broker, job) == await bench.alone(job)


async def test_a_job_canceled_while_its_pixels_are_painted_logs_what_was_drawn_and_no_more(limits, bench) -> None:
    broker, job, held = MemoryBroker(limits), bench.job("job", 160, 160), Held(bench)
    await bench.submit(broker, job)
    async with bench.working(broker, held.engine) as worker:
        assert await asyncio.to_thread(held.begun.wait, 20)
        await asyncio.sleep(0.1)
        drawn, batches = sum(map(len, held.batches)), len(held.batches)
        await broker.cancel(job.id)
        held.go_on.set()
        await until_let_go_of(worker, "canceled")
        assert held.engine.pages_used == 0
    logged = [entry.event for entry in await bench.read_all(broker, job)]
    assert isinstance(logged[-1], JobCanceled)
    patches = sum(isinstance(event, PatchEvent) for event in logged)
    assert patches == logged[-1].done == drawn
    assert len(held.batches) <= batches + 1, "the cancel is read while a batch is drawn"


async def test_a_lease_lost_while_pixels_are_painted_writes_nothing_more(limits, bench) -> None:
    broker, job, held = MemoryBroker(limits), bench.job("job", 96, 96), Held(bench)
    await bench.submit(broker, job)
    async with bench.working(broker, held.engine) as worker:
        assert await asyncio.to_thread(held.begun.wait, 20)
        broker._records["job"].lease_ends = 0.0
        [(thief, _)] = await broker.take("thief", 1, 0.0)
        logged = len(await bench.read_all(broker, job))
        held.go_on.set()
        await until_let_go_of(worker, "lost")
        assert len(await bench.read_all(broker, job)) == logged
        assert held.engine.pages_used == 0
        await broker.release(thief)
        await bench.until_ended(broker, job)
    assert await bench.check_finished(broker, job) == await bench.alone(job)


@pytest.mark.parametrize("fails", [1, 2])
async def test_pixels_that_fail_are_painted_once_more_before_the_job_fails_alone(fails: int, limits, bench) -> None:
    broker, job, mate = MemoryBroker(limits), bench.job("job", 96, 96), bench.job("mate", 96, 96, seed=4)
    tries = 0

    def before_pixels(job_id: str, patches: Sequence[Patch]) -> None:
        nonlocal tries
        if job_id == "job" and list(patches) == [Patch(0, 1, 2)]:
            tries += 1
            if tries <= fails:
                raise MemoryError("no room for pixels")

    await bench.submit(broker, job, mate)
    async with bench.working(broker, bench.Tiles(before_pixels=before_pixels)):
        states = await bench.until_ended(broker, job, mate)
    assert tries == 2
    assert states[0].status is (JobStatus.SUCCEEDED if fails == 1 else JobStatus.FAILED)
    assert await bench.check_finished(broker, mate) == await bench.alone(mate)
    if fails == 1:
        assert await bench.check_finished(broker, job) == await bench.alone(job)
    else:
        logged = [entry.event for entry in await bench.read_all(broker, job)]
        assert isinstance(logged[-1], JobFailed)
        assert (logged[-1].code, "no room for pixels" in logged[-1].message) == ("engine_error", True)
