"""Films: frames in turn, a film that grows, files of every format, and the same bytes after any number of kills."""

import asyncio
import gc
import io
import json
import random
import sys
import tracemalloc
from collections.abc import Sequence
from typing import Any

import av
import numpy as np
import pytest

from canvas.grid import Extent
from jobs.broker.base import NewEvent
from jobs.broker.memory import MemoryBroker, _Record
from jobs.events import FrameEvent, JobFinished, JobResumed, JobStarted
from jobs.job import Job, JobStatus
from workers.film import KINDS

pytestmark = pytest.mark.anyio

LOOKING_BACK = Extent(1, 1, 1)


async def draw(bench: Any, job: Job, engine: Any = None) -> MemoryBroker:
    broker = MemoryBroker()
    await bench.submit(broker, job)
    async with bench.working(broker, engine):
        await bench.until_ended(broker, job)
    return broker


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("order", ["zeta", "omega_star"])
async def test_a_film_is_drawn_frame_after_frame_and_stored_in_every_format(order: str, given: bool, bench) -> None:
    job, engine = bench.film(given=given, order=order, seed=7), bench.Tiles()
    broker = await draw(bench, job, engine)
    await bench.check_finished(broker, job)
    started = next(e.event for e in await bench.read_all(broker, job) if isinstance(e.event, JobStarted))
    assert (started.frames, started.fps, started.rows, started.columns, started.total) == (5, 8, 3, 5, 75)
    assert engine.pages_used == 0
    assert engine.high_water <= engine.pages_needed(job, job.plan(LOOKING_BACK)) < 40
    frames = await bench.frames_of(broker, job)
    for kind in ("film", "result", "webm"):
        shown = bench.read_film(bench.store.path(job.id, kind))
        assert np.abs(shown[:, :45, :70].astype(int) - frames).mean() < 6
    with av.open(str(bench.store.path(job.id))) as film:
        assert film.metadata["title"] == "häuser am see"
        assert json.loads(film.metadata["comment"])["nuwa:seed"] == "7"
        assert film.streams.video[0].average_rate == 8


@pytest.mark.parametrize(("frames", "given"), [(1, False), (1, True), (2, True)])
async def test_the_shortest_films_are_films(frames: int, given: bool, bench) -> None:
    job = bench.film(frames=frames, given=given)
    await bench.check_finished(await draw(bench, job), job)


async def test_each_frame_looks_at_the_one_before(bench) -> None:
    job, other = bench.film(given=True), bench.film("other", given=True)
    bench.given["other"][0, 0] ^= 255
    brokers = [await draw(bench, job), await draw(bench, other)]
    one, two = [await bench.frames_of(broker, drawn) for broker, drawn in zip(brokers, (job, other), strict=True)]
    assert not np.array_equal(one[4], two[4])


async def test_a_film_can_be_watched_before_it_is_finished(bench) -> None:
    """When the third frame is complete, two can be played."""
    job, seen = bench.film(frames=6), []

    class Watching(MemoryBroker):
        async def append(self, lease: Any, events: Sequence[NewEvent]) -> list[str]:
            film = bench.store.path(job.id, "film")
            seen.extend(film.read_bytes() for new in events if isinstance(new.event, FrameEvent))
            return await super().append(lease, events)

    broker = Watching()
    await bench.submit(broker, job)
    async with bench.working(broker):
        await bench.until_ended(broker, job)
    assert [len(bench.read_film(io.BytesIO(data))) for data in seen[1:]] == [1, 2, 3, 4, 5]
    whole = bench.store.path(job.id, "film").read_bytes()
    assert all(whole.startswith(data) for data in seen), "what was read once stays"


async def test_gif_is_left_out_where_it_would_be_shown_slowly(bench) -> None:
    job = bench.film(frames=2, fps=60)
    await draw(bench, job)
    assert [kind for kind in KINDS.values() if bench.store.path(job.id, kind).exists()] == ["result", "webm", "webp"]


@pytest.mark.parametrize("given", [False, True])
async def test_ten_kills_change_no_byte_and_no_event(given: bool, limits, bench, clock) -> None:
    """Another film, and a still picture, are drawn beside it."""
    job, other, still = bench.film(frames=7, given=given, seed=5), bench.film("other"), bench.job("still")
    alone = await bench.check_finished(await draw(bench, job), job)
    for kind in ("film", *KINDS.values()):
        bench.store.delete(job.id, kind)
    broker, dice, grown = MemoryBroker(limits, clock), random.Random(given), 0
    await bench.submit(broker, job, other, still)
    for kill in range(10):
        task = asyncio.create_task(bench.worker(broker, bench.Tiles(slots=dice.choice([1, 2, 3])), f"w{kill}").run())
        goal = (await broker.state(job.id)).patches_done + dice.randint(0, 9)
        await bench.until(broker, job, lambda state, goal=goal: state.patches_done >= goal)
        await bench.kill(task)
        clock.now += limits.lease_s + 1
        film = bench.store.path(job.id, "film")
        size = film.stat().st_size if film.exists() else 0
        assert size >= grown, "what viewers have read is never taken back"
        grown = size
    assert (await broker.state(job.id)).status is JobStatus.RUNNING, "the job outlived all ten"
    async with bench.working(broker, bench.Tiles(), "last"):
        await bench.until_ended(broker, job, other, still)
    await asyncio.sleep(0.1)
    assert await bench.check_finished(broker, job) == alone
    await bench.check_finished(broker, other)
    await bench.check_finished(broker, still)
    assert any(isinstance(entry.event, JobResumed) for entry in await bench.read_all(broker, job))


async def test_a_canceled_film_keeps_what_can_be_played(bench) -> None:
    job, broker = bench.film(frames=500), MemoryBroker()
    await bench.submit(broker, job)
    async with bench.working(broker):
        await bench.until(broker, job, lambda state: state.patches_done >= 60)
        await broker.cancel(job.id)
        await bench.until_ended(broker, job)
        await asyncio.sleep(0.1)
    said = [entry.event for entry in await bench.read_all(broker, job) if isinstance(entry.event, FrameEvent)]
    assert len(bench.read_film(bench.store.path(job.id, "film"))) == len(said) >= 2
    assert not bench.store.path(job.id).exists()
    assert not list(bench.store.workspace().glob(".new-*"))


class Forgetful(MemoryBroker):
    """Keeps nothing of what it is told, as Redis keeps it elsewhere: what grows is the worker's."""

    frames = 0

    def _write(self, record: _Record, new: NewEvent) -> None:
        if isinstance(new.event, FrameEvent):
            self.frames = new.event.done
        if isinstance(new.event, JobFinished):
            super()._write(record, new)


@pytest.mark.slow
async def test_memory_is_flat_over_230_frames(bench) -> None:
    """Of frames of 2 x 2 patches and 2 kB: 200 of them would be 400 kB, records of their patches another 300 kB."""
    small = bench.film(frames=230)
    request = small.request.model_copy(update={"width": 30, "height": 20})
    job, broker, engine = small.model_copy(update={"request": request}), Forgetful(), bench.Tiles()
    sizes: dict[int, int] = {}

    def measure(_: Any) -> None:
        if (start := broker.frames // 4 * 4) in (20, 220):
            gc.collect()  # of tasks and their errors, which hold on to each other
            sys._clear_type_cache()  # where Python keeps each name that an attribute was looked up by, up to 4,096
            size = tracemalloc.get_traced_memory()[0]
            sizes[start] = min(sizes.get(start, size), size)  # pixels of a batch may be under way, or not

    engine.before_decode = measure
    await bench.submit(broker, job)
    tracemalloc.start()
    async with bench.working(broker, engine):
        await bench.until_ended(broker, job)
    tracemalloc.stop()
    assert sizes[220] - sizes[20] < 20_000, "a few patches may be under way at one time and not at the other"
