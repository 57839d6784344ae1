"""A small gateway for the page's tests: speaks the HTTP interface, paints landscapes by itself, and obeys the test."""

import asyncio
import base64
import hashlib
import io
import math
import random
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse
from fastapi.staticfiles import StaticFiles
from PIL import Image

from canvas.grid import Extent
from jobs.broker.memory import MemoryBroker
from jobs.job import Job, JobState, JobStatus, ModelInfo
from jobs.request import GenerateRequest
from jobs.settings import GatewaySettings
from jobs.store import FolderStore
from server.errors import add_error_handlers
from server.feeds import Feeds
from server.forms import FormRoute
from server.gateway import Gateway
from server.metrics import Metrics
from server.prepare import prepare
from server.routes import plan, service
from server.schemas import JobView

STATIC = Path(__file__).parents[2] / "server" / "static"
PATCH_PX = 64
MODEL = ModelInfo(
    name="landscapes",
    version="1",
    description="Poster landscapes",
    patch_px=PATCH_PX,
    patch_tokens=8,
    codebook_size=1000,
    extent=(0, 1, 1),
    orders=("omega", "omega_star", "zeta", "zeta_star"),
    parameters=1,
    licence="Apache-2.0",
    slots=4,
    pool_pages=512,
    page_bytes=100_000,
)
# As strict as a policy can be while the page works: a page that needs more fails its tests.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
TERMINAL = {"job.finished": "succeeded", "job.failed": "failed", "job.canceled": "canceled"}
Event = tuple[str, str, dict[str, Any]]


def paint_landscape(width: int, height: int, seed: int) -> Image.Image:
    """A layered poster landscape, the same for the same seed and size."""
    dice = random.Random(seed)
    palettes = [
        ((96, 132, 160), (250, 205, 150), (92, 110, 128), (30, 44, 52), (255, 238, 190)),
        ((14, 24, 48), (58, 92, 122), (40, 66, 92), (8, 16, 28), (240, 234, 214)),
        ((120, 160, 170), (246, 226, 190), (150, 150, 120), (60, 62, 44), (255, 246, 220)),
        ((150, 92, 84), (250, 190, 120), (140, 84, 80), (52, 30, 44), (255, 226, 150)),
    ]
    top, low, far, near, sun = (np.array(colour, dtype=float) for colour in dice.choice(palettes))
    y, x = np.mgrid[0:height, 0:width].astype(float)
    part = np.clip(y / (height * 0.7), 0, 1)[..., None]
    pixels = top * (1 - part) + low * part
    disc = (x - width * dice.uniform(0.2, 0.8)) ** 2 + (y - height * dice.uniform(0.18, 0.34)) ** 2 < (
        height * 0.08
    ) ** 2
    pixels[disc] = sun
    for layer in range(5):
        depth = layer / 4
        line = np.full(width, height * (0.42 + 0.13 * layer))
        for octave in range(4):
            wave = 2 * math.pi * 2**octave / (260 + 180 * (1 - depth))
            swing = height * 0.09 * (1 - 0.45 * depth) / 1.9**octave
            line += swing * np.abs(np.sin(wave * np.arange(width) / 2 + dice.uniform(0, 6.3))) - swing / 2
        pixels[y > line] = far * (1 - depth) + near * depth
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def _webp(picture: Image.Image) -> bytes:
    data = io.BytesIO()
    picture.save(data, "WEBP", lossless=True, method=0)
    return data.getvalue()


@dataclass
class FakeJob:
    """A real job with its log; `given` is the picture that it goes on from."""

    job: Job
    given: Image.Image | None
    status: JobStatus = JobStatus.QUEUED
    log: list[Event] = field(default_factory=list)
    done: int = 0
    started: datetime | None = None
    ended: datetime | None = None
    error: str | None = None
    canceled: bool = False

    @property
    def is_impossible(self) -> bool:
        return "impossible" in (self.job.request.prompt or "")

    @property
    def seed(self) -> int:
        return self.job.seed

    def picture(self) -> Image.Image:
        """The finished picture: a landscape, and the given pixels in their place, the part to repaint left out."""
        request = self.job.request
        picture = paint_landscape(request.width, request.height, self.job.seed)
        if self.given is None or self.job.given is None:
            return picture
        kept = Image.new("1", self.given.size, 1)
        if area := request.repaint:
            kept.paste(0, (area.left, area.top, area.left + area.width, area.top + area.height))
        picture.paste(self.given, self.job.given[:2], kept)
        return picture

    def add(self, kind: str, **data: Any) -> None:
        self.log.append((f"{time.time_ns() // 1_000_000}-{len(self.log)}", kind, {"version": 1, "kind": kind, **data}))

    def body(self, ahead: int) -> dict[str, Any]:
        state = JobState(
            job=self.job,
            status=self.status,
            patches_done=self.done,
            patches_total=self.job.total,
            queue_position=ahead if self.status is JobStatus.QUEUED else None,
            error=self.error,
            started_at=self.started,
            ended_at=self.ended,
        )
        return JobView.of(state).model_dump(mode="json")


class Announced(MemoryBroker):
    """A broker to which one worker has said what it serves."""

    def __init__(self) -> None:
        super().__init__()
        self.info = MODEL

    async def models(self) -> list[ModelInfo]:
        return [self.info]


class PageGateway:
    """Serve the page on a free port. Its public attributes are the strings a test pulls, at any time."""

    def __init__(self) -> None:
        self.patch_seconds = 0.01
        self.hold_after: int | None = None  # jobs wait at this number of patches
        self.ahead = 0  # jobs stay queued with this many before them
        self.refusals: list[tuple[int, str, int]] = []  # next answers to POST /generate: status, detail, Retry-After
        self.cut_after: int | None = None  # each stream is cut after this many events
        self.refuse_streams = False
        self.jobs: dict[str, FakeJob] = {}
        self.posted: list[dict[str, Any]] = []  # bodies of POST /generate
        self.files: list[bytes | None] = []  # and the pictures beside them
        self.planned: list[tuple[dict[str, Any], bytes | None]] = []  # the same of POST /plan
        self.broker = Announced()
        feeds, store = Feeds(self.broker, lambda *_: None), FolderStore(Path("unused"))
        self.gateway = Gateway(GatewaySettings(), self.broker, store, feeds, Metrics())
        self.open_streams = 0
        self.most_streams = 0
        self.streams_opened = 0
        self._ending = False
        self._tasks: list[asyncio.Task[None]] = []
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        config = uvicorn.Config(
            self._app(), host="127.0.0.1", port=self.port, log_level="error", timeout_graceful_shutdown=1
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)

    def __enter__(self) -> "PageGateway":
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self._ending = True
        for job in self.jobs.values():
            job.canceled = True
        self._server.should_exit = True
        self._thread.join(timeout=5)

    def _app(self) -> FastAPI:
        app = FastAPI()
        # The gateway's own routes where a test needs no string on them, and its own checks and errors everywhere.
        app.state.gateway = self.gateway
        add_error_handlers(app)
        app.include_router(plan.router, dependencies=[Depends(self._note_plan)])
        app.include_router(service.router)
        generating = APIRouter(route_class=FormRoute)
        generating.add_api_route("/generate", self._generate, methods=["POST"], response_model=None)
        app.include_router(generating)
        app.mount("/static", StaticFiles(directory=STATIC))
        app.add_api_route("/", lambda: FileResponse(STATIC / "index.html", headers={"Content-Security-Policy": POLICY}))
        app.add_api_route("/jobs/{job_id}", self._job)
        app.add_api_route("/jobs/{job_id}", self._cancel, methods=["DELETE"])
        app.add_api_route("/jobs/{job_id}/events", self._events)
        app.add_api_route("/jobs/{job_id}/result", self._result)
        return app

    @staticmethod
    def _problem(
        status: int, detail: str, errors: list[dict[str, str]] | None = None, after: int | None = None
    ) -> Response:
        body = {
            "type": "about:blank", "title": "Refused", "status": status, "detail": detail, "instance": "/",
            "code": "refused", "request_id": "r", "errors": errors or [],
        }  # fmt: skip
        headers = {} if after is None else {"Retry-After": str(after)}
        return JSONResponse(body, status, headers, media_type="application/problem+json")

    async def _note_plan(self, request: Request) -> None:
        upload = request.state.upload
        self.planned.append((await request.json(), None if upload is None else upload.data))

    async def _generate(self, request: Request, wanted: GenerateRequest) -> Response:
        upload = request.state.upload
        self.posted.append(await request.json())
        self.files.append(upload and upload.data)
        if self.refusals:
            status, detail, after = self.refusals.pop(0)
            return self._problem(status, detail, after=after)
        prepared = await prepare(self.gateway, wanted, upload)
        job = prepared.job.model_copy(update={"id": f"job-{len(self.jobs) + 1}"})
        given = prepared.picture and Image.open(io.BytesIO(prepared.picture.png))
        fake = self.jobs[job.id] = FakeJob(job, given)
        fake.add("job.queued")
        self._tasks.append(asyncio.create_task(self._run(fake)))
        return JSONResponse(fake.body(self.ahead), 202, {"Location": f"/jobs/{job.id}"})

    async def _run(self, job: FakeJob) -> None:
        await self._until(lambda: self.ahead == 0 or job.canceled)
        if not job.canceled:
            job.status, job.started = JobStatus.RUNNING, datetime.now(UTC)
            await self._make_patches(job)
        job.ended = datetime.now(UTC)
        if job.canceled:
            job.status = JobStatus.CANCELED
            job.add("job.canceled", done=job.done)
        elif job.is_impossible:
            job.status, job.error = JobStatus.FAILED, "The model gave up on this picture."
            job.add("job.failed", code="engine_error", message=job.error)
        else:
            job.status = JobStatus.SUCCEEDED
            seconds = (job.ended - (job.started or job.ended)).total_seconds()
            job.add("job.finished", seconds=seconds, sha256="0" * 64)

    @staticmethod
    async def _until(true: Callable[[], bool]) -> None:
        while not true():  # noqa: ASYNC110  (the strings are pulled from the test's thread, where no event can be set)
            await asyncio.sleep(0.01)

    async def _make_patches(self, fake: FakeJob) -> None:
        job, layout, picture = fake.job, fake.job.layout, fake.picture()
        grid = layout.grid
        job_plan = job.plan(Extent(*MODEL.extent))
        fake.add(
            "job.started", model=job.model, model_version="1", seed=job.seed, order=job.order, width=job.request.width,
            height=job.request.height, patch_px=PATCH_PX, rows=grid.rows, columns=grid.columns, total=len(grid),
            rounds=job_plan.rounds, given=job.given,
        )  # fmt: skip
        rough: list[dict[str, Any]] = []
        # As workers do: given patches first, at once; then along the wavefront of rows.
        patches = sorted(grid, key=lambda at: (at not in job_plan.given, at.column + 2 * at.row, at))
        for patch in patches:
            is_given = patch in job_plan.given
            if not is_given:
                await self._until(lambda: fake.canceled or self._may_draw(fake))
            if fake.canceled or (fake.is_impossible and fake.done == 5):
                return
            box = layout.box(patch)
            place = {
                "index": grid.index(patch), "frame": 0, "row": patch.row, "column": patch.column, "box": tuple(box)
            }  # fmt: skip
            fake.done += 1
            # The first version of a drawn patch is a shade off, as one without its neighbours is.
            first = picture.crop(box) if is_given else picture.crop(box).point(lambda value: max(0, value - 3))
            fake.add("patch", **place, done=fake.done, total=len(grid), **self._image(_webp(first)))
            if is_given:
                continue
            rough.append(place)
            if len(rough) > grid.rows + 1:
                self._refine(fake, picture, rough.pop(0))
            await asyncio.sleep(self.patch_seconds)
        for place in rough:
            self._refine(fake, picture, place)

    def _may_draw(self, fake: FakeJob) -> bool:
        return self.hold_after is None or fake.done < self.hold_after

    def _refine(self, job: FakeJob, picture: Image.Image, place: dict[str, Any]) -> None:
        job.add("patch.refined", **place, **self._image(_webp(picture.crop(place["box"]))))

    @staticmethod
    def _image(data: bytes) -> dict[str, str]:
        return {
            "sha256": hashlib.sha256(data).hexdigest(),
            "image": "data:image/webp;base64," + base64.b64encode(data).decode(),
        }

    async def _job(self, job_id: str) -> Response:
        job = self.jobs.get(job_id)
        return JSONResponse(job.body(self.ahead)) if job else self._problem(404, f"There is no job {job_id}.")

    async def _cancel(self, job_id: str) -> Response:
        job = self.jobs.get(job_id)
        if job is None:
            return self._problem(404, f"There is no job {job_id}.")
        job.canceled = True
        await self._until(lambda: job.ended is not None)
        return JSONResponse(job.body(self.ahead))

    async def _result(self, job_id: str, format: str = "png", download: bool = False) -> Response:  # noqa: A002
        job = self.jobs.get(job_id)
        if job is None:
            return self._problem(404, f"There is no job {job_id}.")
        if job.status is not JobStatus.SUCCEEDED:
            return self._problem(409, "The picture is not finished.", after=1)
        data = io.BytesIO()
        job.picture().save(data, format)
        headers = {"Content-Disposition": f'attachment; filename="picture.{format}"'} if download else {}
        return Response(data.getvalue(), 200, headers, media_type=f"image/{format}")

    async def _events(self, job_id: str, request: Request, last_event_id: str = "") -> Response:
        job = self.jobs.get(job_id)
        if self.refuse_streams:
            return self._problem(503, "The queue is away.", after=1)
        if job is None:
            return self._problem(404, f"There is no job {job_id}.")
        cursor = request.headers.get("last-event-id", last_event_id)
        begin = next((i + 1 for i, (event_id, _, _) in enumerate(job.log) if event_id == cursor), 0)
        if begin and job.log[begin - 1][1] in TERMINAL:
            return Response(status_code=204)
        return StreamingResponse(self._stream(job, begin), media_type="text/event-stream")

    async def _stream(self, job: FakeJob, begin: int) -> AsyncIterator[str]:
        self.streams_opened += 1
        self.open_streams += 1
        self.most_streams = max(self.most_streams, self.open_streams)
        try:
            yield "retry: 200\n\n"
            at = begin
            while not self._ending and (self.cut_after is None or at - begin < self.cut_after):
                if at < len(job.log):
                    event_id, kind, data = job.log[at]
                    at += 1
                    yield f"id: {event_id}\nevent: {kind}\ndata: {JSONResponse(data).body.decode()}\n\n"
                    if kind in TERMINAL:
                        return
                else:
                    await asyncio.sleep(0.02)
                    if self.refuse_streams:
                        return
        finally:
            self.open_streams -= 1
