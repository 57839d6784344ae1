"""What the tests of workers share: small jobs, workers that can be cut off, and what holds for any finished job."""

import asyncio
import contextlib
import hashlib
import io
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from canvas.controller import choose_orders
from canvas.grid import Extent, Grid, Patch
from canvas.order import ORDERS
from jobs.broker.base import LOG_START, Broker, BrokerLimits, LoggedEvent
from jobs.broker.memory import MemoryBroker
from jobs.events import TERMINAL, FrameEvent, JobFinished, JobQueued, JobStarted, PatchEvent, PatchRefined
from jobs.job import ENDED, Job, JobState, layout_of
from jobs.request import Area, GenerateRequest, Task
from jobs.store import FolderStore
from workers.engine import Pixels
from workers.images import decode_webp
from workers.loop import Worker
from workers.tile_engine import TileEngine


class SmallTiles(TileEngine):
    """Patches of 16 pixels and 2x2 tokens.

    before_decode (with the batch), before_pixels (job id, patches): may do anything, in the thread of tokens or pixels.
    """

    def __init__(
        self,
        slots: int = 3,
        pages: int = 400,
        before_decode: Callable[[Any], None] | None = None,
        before_pixels: Callable[[str, Sequence[Patch]], None] | None = None,
    ) -> None:
        super().__init__(slots=slots, pages=pages, patch_px=16, patch_tokens=2)
        self.before_decode = before_decode
        self.before_pixels = before_pixels

    def decode(self, batch: Sequence[tuple[str, Patch]]) -> list[bytes]:
        if self.before_decode is not None:
            self.before_decode(batch)
        return super().decode(batch)

    def render(self, job_id: str, patch: Patch) -> Pixels:
        if self.before_pixels is not None:
            self.before_pixels(job_id, [patch])
        return super().render(job_id, patch)

    def refine(self, job_id: str, patches: Sequence[Patch]) -> list[Pixels]:
        if self.before_pixels is not None:
            self.before_pixels(job_id, patches)
        return super().refine(job_id, patches)


class Bench:
    """Jobs, workers and checks for one test, whose results go to `store`."""

    Tiles = SmallTiles

    def __init__(self, folder: Path) -> None:
        self.store = FolderStore(folder / "results")
        self._apart = FolderStore(folder / "alone")
        self.given: dict[str, np.ndarray] = {}  # pixels by job id
        self.masks: dict[str, np.ndarray] = {}  # likewise: what of them is drawn anew

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

    def extended(
        self,
        job_id: str = "job",
        add: tuple[int, int, int, int] = (30, 20, 40, 10),
        repaint: Area | None = None,
        mask: np.ndarray | None = None,
        **more: Any,
    ) -> Job:
        """A job that adds left, top, right, bottom pixels to a given picture of 70 x 45, or repaints a part of it.

        mask: [45, 70], True where it is drawn anew; or else all of `repaint` is.
        """
        spared: tuple[int, ...] = ()
        if mask is not None:
            rows, columns = (np.nonzero(mask.any(axis))[0] for axis in (1, 0))
            size = {"width": int(columns[-1] - columns[0]) + 1, "height": int(rows[-1] - rows[0]) + 1}
            repaint, hole = Area(left=int(columns[0]), top=int(rows[0]), **size), np.zeros((45, 70), np.bool_)
            hole[repaint.top : repaint.top + repaint.height, repaint.left : repaint.left + repaint.width] = True
            grid = Grid.from_pixels(70, 45, more.get("patch_px", 16))
            parts = {p: np.s_[grid.box(p).top : grid.box(p).bottom, grid.box(p).left : grid.box(p).right] for p in grid}
            spared = tuple(grid.index(p) for p, part in parts.items() if hole[part].any() and not mask[part].any())
            self.masks[job_id] = mask
        left, top, right, bottom = (0, 0, 0, 0) if repaint else add
        job = self.job(job_id, left + 70 + right, top + 45 + bottom, **more)
        self.given[job_id] = np.random.default_rng(3).integers(0, 256, (45, 70, 3), dtype=np.uint8)
        box = (left, top, left + 70, top + 45)
        asked = {"task": Task.IMAGE_OUTPAINTING, "repaint": repaint}
        request = job.request.model_copy(update=asked)
        layout = layout_of(request, job.patch_px, box, spared)
        order = "+".join(choose_orders(layout, Extent(), list(ORDERS)))
        asked = {"request": request, "given": box, "order": order, "masked": mask is not None, "spared": spared}
        return job.model_copy(update=asked)

    def film(self, job_id: str = "film", frames: int = 5, given: bool = False, fps: int = 8, **more: Any) -> Job:
        """A film of 70 x 45 pixels, whose first frame is given or drawn."""
        job = self.job(job_id, 70, 45, **more)
        task = Task.IMAGE_ANIMATION if given else Task.TEXT_TO_VIDEO
        request = job.request.model_copy(update={"task": task, "frames": frames, "fps": fps})
        if given:
            y, x = np.mgrid[:45, :70]
            self.given[job_id] = np.stack([3 * x, 5 * y, 2 * x + y], axis=2).astype(np.uint8)
        return job.model_copy(update={"request": request, "given": (0, 0, 70, 45) if given else None})

    async def submit(self, broker: Broker, *jobs: Job) -> None:
        for job in jobs:
            if job.id in self.given:
                out = io.BytesIO()
                Image.fromarray(self.given[job.id]).save(out, "PNG")
                self.store.put(job.id, out.getvalue(), "given")
            if job.masked:
                out = io.BytesIO()
                Image.fromarray(self.masks[job.id]).save(out, "PNG")
                self.store.put(job.id, out.getvalue(), "mask")
            await broker.submit(job, job.total)

    def worker(self, broker: Any, engine: TileEngine, name: str = "w1", **more: Any) -> Worker:
        return Worker(broker, self.store, engine, name, heartbeat_s=0.02, idle_wait_s=0.02, **more)

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
        self, broker: Broker, job: Job, holds: Callable[[JobState], bool], within_s: float = 100.0
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
        other.store, other.given, other.masks = self._apart, self.given, self.masks
        broker = MemoryBroker()
        await other.submit(broker, job)
        async with other.working(broker, engine):
            await self.until_ended(broker, job)
        return await other.check_finished(broker, job)

    async def check_finished(self, broker: Broker, job: Job) -> str:
        """Checks a finished job's log, images and result against each other; returns the picture's hash."""
        if job.is_film:
            return await self._check_film(broker, job)
        logged = [entry.event for entry in await self.read_all(broker, job)]
        patches = [event for event in logged if isinstance(event, PatchEvent)]
        refined = [event for event in logged if isinstance(event, PatchRefined)]
        total = job.total
        drawn = [i for i, p in enumerate(job.layout.grid) if p not in job.plan(Extent()).given]
        assert isinstance(logged[0], JobQueued)
        [started] = [event for event in logged if isinstance(event, JobStarted)]
        assert (started.given, started.repaint) == (job.given, job.request.repaint)
        assert [isinstance(event, TERMINAL) for event in logged].index(True) == len(logged) - 1
        assert isinstance(logged[-1], JobFinished)
        assert sorted(event.index for event in patches) == list(range(total)), "each patch exactly once"
        assert [event.done for event in patches] == list(range(1, total + 1))
        assert sorted(event.index for event in refined) == drawn, "each final patch exactly once"
        drawn_at = {event.index: place for place, event in enumerate(logged) if isinstance(event, PatchEvent)}
        assert all(drawn_at[event.index] < logged.index(event) for event in refined)
        given = [event for event in patches if event.index not in drawn]
        pixels = await _assemble(broker, job, [*refined, *given])
        assert hashlib.sha256(pixels.tobytes()).hexdigest() == logged[-1].sha256
        with Image.open(io.BytesIO(self.store.get(job.id) or b"")) as image:
            assert np.array_equal(np.asarray(image), pixels)
        if job.given is not None:
            left, top, right, bottom = job.given
            known = np.ones((bottom - top, right - left), np.bool_)
            if (area := job.request.repaint) is not None:
                known[area.top : area.top + area.height, area.left : area.left + area.width] = False
            if job.masked:
                known = ~self.masks[job.id]
            assert np.array_equal(pixels[top:bottom, left:right][known], self.given[job.id][known]), "byte for byte"
        return logged[-1].sha256

    async def _check_film(self, broker: Broker, job: Job) -> str:
        """The same for a film; the hash of its pixels and of the bytes that viewers were sent."""
        events = [entry.event for entry in await self.read_all(broker, job)]
        patches = [event for event in events if isinstance(event, PatchEvent)]
        assert sorted(event.index for event in patches) == list(range(job.total)), "each patch exactly once"
        assert [event.done for event in patches] == list(range(1, job.total + 1))
        frames = await self.frames_of(broker, job)
        said = [event for event in events if isinstance(event, FrameEvent)]
        assert [(event.index, event.done) for event in said] == [(n, n + 1) for n in range(len(frames))]
        for event in said:
            assert event.total == len(frames)
            assert event.sha256 == hashlib.sha256(frames[event.index].tobytes()).hexdigest()
            own = [e for e in events if isinstance(e, PatchEvent | PatchRefined) and e.frame == event.index]
            assert all(events.index(e) < events.index(event) for e in own), "a frame comes after all its patches"
        assert isinstance(events[-1], JobFinished)
        assert events[-1].sha256 == hashlib.sha256(frames.tobytes()).hexdigest()
        if job.given is not None:
            assert np.array_equal(frames[0], self.given[job.id]), "byte for byte"
        for kind in ("film", "result", "webm"):
            shown = self.read_film(self.store.path(job.id, kind))
            assert len(shown) == len(frames)
        for kind in ("webp", "gif"):
            with Image.open(self.store.path(job.id, kind)) as image:
                assert (getattr(image, "n_frames", 1), image.size) == (len(frames), (70, 45))
        result = self.store.get(job.id) or b""
        assert 0 < result.find(b"moov") < result.find(b"mdat"), "plays before it is loaded"
        assert not list(self.store.workspace().glob(".new-*")), "nothing half made is left"
        return events[-1].sha256 + hashlib.sha256(self.store.get(job.id, "film") or b"").hexdigest()

    async def frames_of(self, broker: Broker, job: Job) -> np.ndarray:
        """[F, H, W, 3]: the frames as a viewer puts them together from the final patches."""
        given = job.plan(Extent(1, 1, 1)).given
        frames = np.zeros((job.layout.grid.frames, job.request.height, job.request.width, 3), np.uint8)
        for event in (entry.event for entry in await self.read_all(broker, job)):
            is_first = isinstance(event, PatchEvent) and job.layout.grid.patch(event.index) in given
            if isinstance(event, PatchRefined) or is_first:
                [image] = await broker.images(job.id, [(event.index, isinstance(event, PatchRefined))])
                left, top, right, bottom = event.box
                frames[event.frame, top:bottom, left:right] = decode_webp(image or b"")
        return frames

    @staticmethod
    def read_film(source: Path | io.BytesIO) -> np.ndarray:
        """[F, H, W, 3], as ffmpeg reads it."""
        with av.open(source) as film:
            return np.stack([frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)])


async def _assemble(broker: Broker, job: Job, final: Sequence[PatchRefined | PatchEvent]) -> np.ndarray:
    """The picture as a browser puts it together from the final patches alone."""
    pixels = np.zeros((job.request.height, job.request.width, 3), np.uint8)
    images = await broker.images(job.id, [(event.index, isinstance(event, PatchRefined)) for event in final])
    for event, image in zip(final, images, strict=True):
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
