"""What the gateway's tests share: an app on a broker in memory, a fake worker, and a real port for live streams."""

import asyncio
import contextlib
import hashlib
import io
import json
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from PIL import Image, PngImagePlugin

from jobs.broker.base import Lease, LoggedEvent, NewEvent
from jobs.broker.memory import MemoryBroker
from jobs.errors import BrokerUnavailable
from jobs.events import (
    JobCanceled,
    JobFailed,
    JobFinished,
    JobStarted,
    PatchEvent,
    PatchRefined,
)
from jobs.job import Job, ModelInfo
from jobs.settings import GatewaySettings
from jobs.store import FolderStore
from server.app import create_app
from server.main import GatewayServer
from workers.loop import Worker
from workers.tile_engine import TileEngine

MODEL = ModelInfo(
    name="tiny",
    version="5f0c9a3be1d27c44",
    description="Plain tiles",
    patch_px=16,
    patch_tokens=2,
    codebook_size=1000,
    extent=(0, 1, 1),
    orders=("omega", "zeta"),
    parameters=1,
    licence="Apache-2.0",
)


class Broker(MemoryBroker):
    """The broker in memory, with a switch that takes it away and counts of its readers."""

    def __init__(self) -> None:
        super().__init__()
        self.away = False
        self.waiting_now = 0
        self.waiting_most = 0
        self.reads = 0
        self.image_reads = 0

    def _check(self) -> None:
        if self.away:
            raise BrokerUnavailable("Redis does not answer.")

    async def submit_all(self, jobs: Sequence[tuple[Job, int]]) -> None:
        self._check()
        await super().submit_all(jobs)

    async def state(self, job_id: str) -> Any:
        self._check()
        return await super().state(job_id)

    async def cancel(self, job_id: str) -> Any:
        self._check()
        return await super().cancel(job_id)

    async def depth(self) -> int:
        self._check()
        return await super().depth()

    async def workers(self) -> int:
        self._check()
        return await super().workers()

    async def models(self) -> list[ModelInfo]:
        self._check()
        return await super().models()

    async def read(self, *args: Any, **kwargs: Any) -> Any:
        self._check()
        self.reads += 1
        return await super().read(*args, **kwargs)

    async def images(self, job_id: str, keys: Sequence[tuple[int, bool]]) -> list[bytes | None]:
        self._check()
        self.image_reads += 1
        return await super().images(job_id, keys)

    async def wait(self, cursors: Mapping[str, str], wait_s: float, limit: int = 256) -> dict[str, list[LoggedEvent]]:
        self._check()
        self.waiting_now += 1
        self.waiting_most = max(self.waiting_most, self.waiting_now)
        try:
            return await super().wait(cursors, min(wait_s, 0.2), limit)
        finally:
            self.waiting_now -= 1


class FakeWorker:
    """Takes jobs and writes their events, one call each; `draw` does a whole job."""

    def __init__(self, broker: Broker, store: FolderStore) -> None:
        self.broker = broker
        self.store = store

    async def take(self) -> tuple[Lease, Job]:
        [(lease, job)] = await self.broker.take("fake", 1, 5.0)
        return lease, job

    async def start(self, lease: Lease, job: Job) -> int:
        total = job.request.patch_count(job.patch_px)
        columns = -(-job.request.width // job.patch_px)
        await self.write(
            lease,
            JobStarted(
                model=job.model,
                model_version=MODEL.version,
                seed=job.seed,
                order=job.order,
                width=job.request.width,
                height=job.request.height,
                patch_px=job.patch_px,
                rows=total // columns,
                columns=columns,
                total=total,
                rounds=total,
            ),
        )
        return total

    async def patch(self, lease: Lease, index: int, total: int, refined: bool = False) -> None:
        image = webp(index, refined)
        place: dict[str, Any] = {"index": index, "frame": 0, "row": 0, "column": index, "box": (0, 0, 16, 16)}
        sha256 = hashlib.sha256(image).hexdigest()
        event: PatchEvent | PatchRefined = PatchEvent(**place, sha256=sha256, done=index + 1, total=total)
        if refined:
            event = PatchRefined(**place, sha256=sha256)
        await self.broker.append(lease, [NewEvent(event, image=image, tokens=b"\1\0")])

    async def finish(self, lease: Lease, job: Job) -> None:
        self.store.put(job.id, png(job))
        await self.write(lease, JobFinished(seconds=1.0, sha256="0" * 64))

    async def write(self, lease: Lease, event: JobStarted | JobFinished | JobFailed | JobCanceled) -> None:
        await self.broker.append(lease, [NewEvent(event)])

    async def draw(self, pause_s: float = 0.0) -> Job:
        lease, job = await self.take()
        total = await self.start(lease, job)
        for index in range(total):
            await self.patch(lease, index, total)
            await self.patch(lease, index, total, refined=True)
            await asyncio.sleep(pause_s)
        await self.finish(lease, job)
        return job


def webp(index: int, refined: bool) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (16, 16), (index % 256, 200 if refined else 100, 0)).save(out, "WEBP", lossless=True)
    return out.getvalue()


def png(job: Job) -> bytes:
    """A result with text chunks as workers write them."""
    text = PngImagePlugin.PngInfo()
    chunks = {"prompt": job.request.prompt or "", "seed": str(job.seed), "order": job.order, "model": job.model}
    for key, value in {**chunks, "version": MODEL.version}.items():
        text.add_itxt(f"nuwa:{key}", value)
    text.add_itxt("parameters", job.request.model_dump_json())
    picture = Image.linear_gradient("L").resize((job.request.width, job.request.height)).convert("RGB")
    out = io.BytesIO()
    picture.save(out, "PNG", pnginfo=text)
    return out.getvalue()


def sse_events(text: str) -> list[dict[str, Any]]:
    """The events of a stream as a browser sees them: id, event, data; comments and retry left out."""
    events = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line and not line.startswith(":"))
        if "data" in fields:
            events.append({"id": fields["id"], "event": fields["event"], "data": json.loads(fields["data"])})
    return events


async def until(condition: Callable[[], bool], within_s: float = 20.0) -> None:
    """Wait for what cannot be awaited."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.01)


class Served:
    """A gateway under test: `client` speaks to it, `worker` and `broker` are what stands behind it."""

    def __init__(self, app: FastAPI, broker: Broker, store: FolderStore, client: httpx.AsyncClient) -> None:
        self.app = app
        self.broker = broker
        self.store = store
        self.client = client
        self.worker = FakeWorker(broker, store)
        self.server: GatewayServer | None = None

    async def generate(self, **body: Any) -> dict[str, Any]:
        """An accepted job of 4 patches unless the body says otherwise."""
        answer = await self.client.post("/generate", json={"prompt": "a lake", "width": 64, "height": 16, **body})
        assert answer.status_code == 202, answer.text
        return answer.json()

    async def finished(self, **body: Any) -> dict[str, Any]:
        job = await self.generate(**body)
        await self.worker.draw()
        return (await self.client.get(job["links"]["self"])).json()

    @contextlib.asynccontextmanager
    async def drawing(self, delay_s: float = 0.0) -> AsyncIterator[None]:
        """A real worker, with plain tiles, serves the gateway's model, in films too, while the block runs."""
        engine = TileEngine(slots=4, pages=64, patch_px=16, patch_tokens=2, delay_s=delay_s)
        engine.model = engine.model.model_copy(update={"name": "tiny"})
        await self.broker.announce("fake", [], ttl_s=0)
        worker = Worker(self.broker, self.store, engine, "tiles", heartbeat_s=0.05, idle_wait_s=0.02)
        working = asyncio.create_task(worker.run())
        while not await self.broker.models():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.005)
        try:
            yield
        finally:
            worker.drain()
            await working

    async def events(self, job: dict[str, Any], **options: Any) -> list[dict[str, Any]]:
        """All events of an ended job."""
        return sse_events((await self.client.get(job["links"]["events"], **options)).text)

    @property
    def viewers(self) -> int:
        return self.app.state.gateway.feeds.viewers

    parse_events = staticmethod(sse_events)
    until = staticmethod(until)
    model = MODEL


@pytest.fixture
def settings(tmp_path: Path) -> GatewaySettings:
    return GatewaySettings(data=tmp_path, max_pixels=1_000_000, ping_s=0.2)


@contextlib.asynccontextmanager
async def serve_here(settings: GatewaySettings) -> AsyncIterator[Served]:
    broker, store = Broker(), FolderStore(settings.results_folder)
    app = create_app(settings, broker, store)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://nuwa") as client,
    ):
        yield Served(app, broker, store, client)


@pytest.fixture
async def empty_gateway(settings: GatewaySettings) -> AsyncIterator[Served]:
    """An app inside the process that has not heard of any worker."""
    async with serve_here(settings) as served:
        yield served


@pytest.fixture
async def gateway(settings: GatewaySettings) -> AsyncIterator[Served]:
    """An app inside the process, and one worker alive."""
    async with serve_here(settings) as served:
        await served.broker.announce("fake", [MODEL], ttl_s=60)
        yield served


@pytest.fixture
async def live(settings: GatewaySettings) -> AsyncIterator[Served]:
    """The same on a real port: streams are seen as they happen, and broken as clients break them."""
    broker, store = Broker(), FolderStore(settings.results_folder)
    await broker.announce("fake", [MODEL], ttl_s=60)
    app = create_app(settings, broker, store)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        config = uvicorn.Config(app, log_level="error", ws="none", timeout_graceful_shutdown=5)
        server = GatewayServer(config, app.state.gateway.feeds)
        server.capture_signals = contextlib.nullcontext  # pytest keeps its own signal handlers
        serving = asyncio.create_task(server.serve([listening]))
        await until(lambda: server.started)
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=address, timeout=20, limits=limits) as client:
            served = Served(app, broker, store, client)
            served.server = server
            yield served
        server.should_exit = True
        await serving
