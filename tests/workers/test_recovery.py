"""Workers that die, stall, lose leases or leave, and brokers that do not answer: no byte and no event changes."""

import asyncio
import random
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from jobs.broker.base import BrokerLimits, Lease, NewEvent
from jobs.broker.memory import MemoryBroker
from jobs.errors import BrokerUnavailable
from jobs.events import JobFailed, JobResumed
from jobs.job import JobStatus
from workers import patience

pytestmark = pytest.mark.anyio


class DyingBroker:
    """Passes calls on to the real broker; kills the worker at its n-th append, before or after it takes effect."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker
        self.appends_left = 0
        self.after = False
        self.kill: Callable[[], object] = lambda: None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._broker, name)

    async def append(self, lease: Lease, events: Sequence[NewEvent]) -> list[str]:
        self.appends_left -= 1
        if self.appends_left == 0:
            if self.after:
                await self._broker.append(lease, events)
            self.kill()
            await asyncio.sleep(10)
        return await self._broker.append(lease, events)


@pytest.mark.parametrize("chance", [1, 2, 3])
async def test_twenty_kills_at_random_points_change_no_byte_and_no_event(chance: int, limits, bench, clock) -> None:
    """Each worker dies in its first appends (before or after they take effect) or decodes; another job is beside.

    The other job, in the third chance the killed one too, extends a given picture.
    """
    dice = random.Random(chance)
    memory, other = MemoryBroker(limits, clock), bench.extended("other", (8, 0, 20, 0))
    job = bench.job("job", 250, 140, seed=5)
    if chance > 2:
        job = bench.extended("job", (90, 60, 80, 40), seed=5)
    await bench.submit(memory, job, other)
    for kill in range(20):
        broker, engine = DyingBroker(memory), bench.Tiles(slots=dice.choice([1, 2, 3]))
        task = asyncio.create_task(bench.worker(broker, engine, f"w{kill}").run())
        broker.kill, broker.after = task.cancel, dice.random() < 0.5
        if dice.random() < 0.5:
            broker.appends_left = dice.randint(1, 6)
        else:
            _kill_in_decode(engine, task, dice.randint(1, 4))
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 5)
        clock.now += limits.lease_s + 1
    assert (await memory.state(job.id)).status is JobStatus.RUNNING, "the job outlived all twenty"
    async with bench.working(memory, bench.Tiles(), "last"):
        await bench.until_ended(memory, job, other)
    assert await bench.check_finished(memory, job) == await bench.alone(job)
    assert await bench.check_finished(memory, other) == await bench.alone(other)
    assert sum(isinstance(entry.event, JobResumed) for entry in await bench.read_all(memory, job)) >= 5


def _kill_in_decode(engine: Any, task: "asyncio.Task[None]", number: int) -> None:
    running, count = asyncio.get_running_loop(), iter(range(1, number + 1))

    def before_decode(_: Any) -> None:
        if next(count, 0) == number:
            running.call_soon_threadsafe(task.cancel)

    engine.before_decode = before_decode


def _death_by(job_id: str, task: "asyncio.Task[None]") -> Callable[[Any], None]:
    running = asyncio.get_running_loop()

    def before_decode(batch: Any) -> None:
        if batch[0][0] == job_id:
            running.call_soon_threadsafe(task.cancel)
            raise SystemError("dead")

    return before_decode


async def test_a_lost_lease_ends_the_work_on_that_job_alone(limits, bench, clock) -> None:
    """Another worker takes both jobs over while the first one stalls in a decode; it gives one of them back."""
    broker, job, kept = MemoryBroker(limits, clock), bench.job("job", 96, 96), bench.job("kept", 64, 64)
    drawing, go_on = threading.Event(), threading.Event()

    def before_decode(_: Any) -> None:
        drawing.set()
        assert go_on.wait(5)

    await bench.submit(broker, job, kept)
    async with bench.working(broker, bench.Tiles(before_decode=before_decode)) as worker:
        assert await asyncio.to_thread(drawing.wait, 5)
        broker._records["job"].lease_ends = 0.0
        [(thief, taken)] = await broker.take("thief", 1, 0.0)
        assert taken.id == "job"
        go_on.set()
        await bench.until_ended(broker, kept)
        assert worker.metrics.registry.get_sample_value("nuwa_worker_jobs_ended_total", {"how": "lost"}) == 1
        logged = len(await bench.read_all(broker, job))
        await asyncio.sleep(0.1)
        assert len(await bench.read_all(broker, job)) == logged, "nothing more comes from the worker that lost it"
        await broker.release(thief)
        await bench.until_ended(broker, job)
    assert await bench.check_finished(broker, job) == await bench.alone(job)
    assert await bench.check_finished(broker, kept) == await bench.alone(kept)


class FailingBroker:
    """Answers BrokerUnavailable when `fails` says so, before or after the call took effect."""

    def __init__(self, broker: MemoryBroker, fails: Callable[[str], str]) -> None:
        self._broker = broker
        self._fails = fails

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._broker, name)

        async def call(*args: Any, **kwargs: Any) -> Any:
            how = self._fails(name)
            if how == "before":
                raise BrokerUnavailable("gone")
            result = await method(*args, **kwargs)
            if how == "after" and name != "take":  # a job taken so would only wait for its lease to run out
                raise BrokerUnavailable("gone")
            return result

        return call


async def test_an_outage_of_the_broker_loses_and_doubles_nothing(limits, bench, monkeypatch) -> None:
    """One call in five fails, half of them after they took effect; and for 0.3 s in the middle none is answered."""
    monkeypatch.setattr(patience, "FIRST_RETRY_S", 0.005)
    memory, jobs = MemoryBroker(limits), [bench.job(f"job-{n}", 80, 60, seed=n) for n in range(3)]
    dice, calls, gone_until = random.Random(3), 0, 0.0
    clock = asyncio.get_running_loop().time

    def fails(_: str) -> str:
        nonlocal calls, gone_until
        calls += 1
        if calls == 60:
            gone_until = clock() + 0.3
        if clock() < gone_until:
            return "before"
        return dice.choice(["before", "after"]) if dice.random() < 0.2 else ""

    await bench.submit(memory, *jobs)
    async with bench.working(FailingBroker(memory, fails), bench.Tiles()):
        await bench.until_ended(memory, *jobs)
    assert gone_until
    for job in jobs:
        assert await bench.check_finished(memory, job) == await bench.alone(job)
        assert (await memory.state(job.id)).deliveries == 1, "nobody had to take it over"


async def test_a_lease_that_ran_out_in_an_outage_is_given_up(limits, bench, clock) -> None:
    gone = False
    memory, job = MemoryBroker(limits, clock), bench.job("job", 128, 128)
    await bench.submit(memory, job)
    broker = FailingBroker(memory, lambda _: "before" if gone else "")
    async with bench.working(broker, bench.Tiles(), "cut-off"):
        await bench.until(memory, job, lambda state: state.patches_done > 0)
        gone = True
        await asyncio.sleep(0.05)
        clock.now += limits.lease_s + 1
        async with bench.working(memory, bench.Tiles(), "second"):
            await bench.until(memory, job, lambda state: state.deliveries == 2)
            gone = False
            await bench.until_ended(memory, job)
    await bench.check_finished(memory, job)


async def test_a_job_that_kills_its_workers_fails_after_max_deliveries(bench, clock) -> None:
    broker = MemoryBroker(BrokerLimits(lease_s=5.0, max_deliveries=3), clock)
    poison, harmless = bench.job("poison", 64, 64), bench.job("harmless", 64, 64)
    await bench.submit(broker, poison, harmless)
    deaths = 0
    while (await broker.state(harmless.id)).status is not JobStatus.SUCCEEDED:
        engine = bench.Tiles(slots=1)
        worker = bench.worker(broker, engine, f"w{deaths}", max_jobs=1)
        task = asyncio.create_task(worker.run())
        engine.before_decode = _death_by("poison", task)
        served = asyncio.create_task(bench.until(broker, harmless, lambda state: state.status is JobStatus.SUCCEEDED))
        await asyncio.wait([task, served], return_when=asyncio.FIRST_COMPLETED)
        served.cancel()
        deaths += 1
        await bench.kill(task)
        clock.now += 6
        assert deaths < 10
    assert deaths == 4, "three workers died, the fourth served the other job"
    last = (await bench.read_all(broker, poison))[-1].event
    assert isinstance(last, JobFailed)
    assert last.code == "too_many_deliveries"
    await bench.check_finished(broker, harmless)


async def test_a_draining_worker_logs_what_it_draws_and_hands_jobs_over_at_once(limits, bench, clock) -> None:
    broker, jobs = MemoryBroker(limits, clock), [bench.job(f"job-{n}", 96, 80, seed=n) for n in range(2)]
    drawing, go_on = threading.Event(), threading.Event()
    batches = []

    def before_decode(batch: Any) -> None:
        batches.append(batch)
        if len(batches) == 5:
            drawing.set()
            assert go_on.wait(5)

    await bench.submit(broker, *jobs)
    engine = bench.Tiles(before_decode=before_decode)
    worker = bench.worker(broker, engine, "leaving")
    leaving = asyncio.create_task(worker.run())
    assert await asyncio.to_thread(drawing.wait, 5)
    worker.drain()
    go_on.set()
    await asyncio.wait_for(leaving, 5)
    assert len(batches) == 5
    assert sum([(await broker.state(job.id)).patches_done for job in jobs]) == sum(map(len, batches))
    assert engine.pages_used == 0
    assert await broker.workers() == 0, "it said goodbye"
    async with bench.working(broker, bench.Tiles(), "next"):  # the clock stands still: no lease runs out
        await bench.until_ended(broker, *jobs)
    for job in jobs:
        assert await bench.check_finished(broker, job) == await bench.alone(job)
        assert any(isinstance(entry.event, JobResumed) for entry in await bench.read_all(broker, job))
