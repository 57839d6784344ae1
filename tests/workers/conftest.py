"""What the tests of workers share: small jobs, workers that can be cut off, and what holds for any finished job."""

import asyncio
import contextlib
import hashlib
import io
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from canvas.grid import Patch
from jobs.broker.base import LOG_START, Broker, BrokerLimits, LoggedEvent
from jobs.broker.memory import MemoryBroker
from jobs.events import TERMINAL, JobFinished, JobQueued, JobStarted, PatchEvent, PatchRefined
from jobs.job import ENDED, Job, JobState
from jobs.request import GenerateRequest
from jobs.store import FolderStore
from workers.images import decode_webp
from workers.loop import Worker
from workers.tile_engine import TileEngine


class SmallTiles(TileEngine):
    """Patches of 16 pixels and 2x2 tokens; `before_decode` may do anything, in the engine's thread."""

    def __init__(self, slots: int = 3, pages: int = 400, before_decode: Callable[[Any], None] | None = None) -> None:
        super().__init__(slots=slots, pages=pages, patch_px=16, patch_tokens=2)
        self.before_decode = before_decode

    def decode(self, batch: Sequence[tuple[str, Patch]]) -> list[bytes]:
        if self.before_decode is not None:
            self.before_decode(batch)
        return super().decode(batch)


class Bench:
    """Jobs, workers and checks for one test, whose results go to `store`."""

    Tiles = SmallTiles

    def __init__(self, folder: Path) -> None:
        self.store = FolderStore(folder / "results")
        self._apart = FolderStore(folder / "alone")

    def job(
        self,
        job_id: str = "job",
        width: int = 150,
        height: int = 90,
        seed: int = 1,
        order: str = "zeta",
        patch_px: int = 16,
        model: str = "tile",
        prompt: str = "häuser am see",
    ) -> Job:
        return Job(
            id=job_id,
            request=GenerateRequest(prompt=prompt, width=width, height=height),
            seed=seed,
            order=order,
            model=model,
            patch_px=patch_px,
            created_at=datetime(2026, 1, 1, tzinfo=UTC),
        )

    async def submit(self, broker: Broker, *jobs: Job) -> None:
        for job in jobs:
            await broker.submit(job, job.request.patch_count(job.patch_px))

    def worker(self, broker: Any, engine: TileEngine, name: str = "w1", max_jobs: int = 8) -> Worker:
        return Worker(broker, self.store, engine, name, max_jobs=max_jobs, heartbeat_s=0.02, idle_wait_s=0.02)

    @contextlib.asynccontextmanager
    async def working(self, broker: Any, engine: TileEngine | None = None, name: str = "w1") -> AsyncIterator[Worker]:
        """A worker that works while the block runs and is then cut off like one that crashed."""
        worker = self.worker(broker, engine or SmallTiles(), name)
        task = asyncio.create_task(worker.run())
        try:
            yield worker
        finally:
            await self.kill(task)
            if not task.cancelled():
                task.result()  # raises what ended it

    async def kill(self, task: "asyncio.Task[None]") -> None:
        while not task.done():  # asyncio.wait_for of Python 3.11 may swallow a cancellation
            task.cancel()
            await asyncio.wait([task], timeout=0.05)

    async def until(
        self, broker: Broker, job: Job, holds: Callable[[JobState], bool], within_s: float = 60.0
    ) -> JobState:
        """The job's state as soon as it is as told. Raises TimeoutError."""
        async with asyncio.timeout(within_s):
            while not holds(state := await broker.state(job.id)):  # noqa: ASYNC110 - brokers tell of events only
                await asyncio.sleep(0.003)
        return state

    async def until_ended(self, broker: Broker, *jobs: Job) -> list[JobState]:
        return [await self.until(broker, job, lambda state: state.status in ENDED) for job in jobs]

    async def read_all(self, broker: Broker, job: Job) -> list[LoggedEvent]:
        events: list[LoggedEvent] = []
        while page := await broker.read(job.id, events[-1].id if events else LOG_START, tokens=True):
            events += page
        return events

    async def alone(self, job: Job, engine: TileEngine | None = None) -> str:
        """The hash of a job drawn by one worker that does nothing else."""
        other = Bench(Path())
        other.store = self._apart
        broker = MemoryBroker()
        await self.submit(broker, job)
        async with other.working(broker, engine):
            await self.until_ended(broker, job)
        return await other.check_finished(broker, job)

    async def check_finished(self, broker: Broker, job: Job) -> str:
        """Checks a finished job's log, images and result against each other; returns the picture's hash."""
        logged = [entry.event for entry in await self.read_all(broker, job)]
        patches = [event for event in logged if isinstance(event, PatchEvent)]
        refined = [event for event in logged if isinstance(event, PatchRefined)]
        total = job.request.patch_count(job.patch_px)
        assert isinstance(logged[0], JobQueued)
        assert sum(isinstance(event, JobStarted) for event in logged) == 1
        assert [isinstance(event, TERMINAL) for event in logged].index(True) == len(logged) - 1
        assert isinstance(logged[-1], JobFinished)
        assert sorted(event.index for event in patches) == list(range(total)), "each patch exactly once"
        assert [event.done for event in patches] == list(range(1, total + 1))
        assert sorted(event.index for event in refined) == list(range(total)), "each final patch exactly once"
        drawn_at = {event.index: place for place, event in enumerate(logged) if isinstance(event, PatchEvent)}
        assert all(drawn_at[event.index] < logged.index(event) for event in refined)
        pixels = await _assemble(broker, job, refined)
        assert hashlib.sha256(pixels.tobytes()).hexdigest() == logged[-1].sha256
        with Image.open(io.BytesIO(self.store.get(job.id) or b"")) as image:
            assert np.array_equal(np.asarray(image), pixels)
        return logged[-1].sha256


async def _assemble(broker: Broker, job: Job, refined: Sequence[PatchRefined]) -> np.ndarray:
    """The picture as a browser puts it together from the final patches alone."""
    pixels = np.zeros((job.request.height, job.request.width, 3), np.uint8)
    images = await broker.images(job.id, [(event.index, True) for event in refined])
    for event, image in zip(refined, images, strict=True):
        assert image is not None
        assert hashlib.sha256(image).hexdigest() == event.sha256
        left, top, right, bottom = event.box
        pixels[top:bottom, left:right] = decode_webp(image)
    return pixels


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def limits() -> BrokerLimits:
    return BrokerLimits(lease_s=5.0, max_deliveries=1000)
