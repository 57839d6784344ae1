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
from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse
from fastapi.staticfiles import StaticFiles
from PIL import Image
from pydantic import ValidationError

from jobs.request import GenerateRequest

STATIC = Path(__file__).parents[2] / "server" / "static"
PATCH_PX = 64
MAX_SIDE = 8192
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
    id: str
    request: GenerateRequest
    seed: int
    status: str = "queued"
    log: list[Event] = field(default_factory=list)
    done: int = 0
    created: datetime = field(default_factory=lambda: datetime.now(UTC))
    started: datetime | None = None
    ended: datetime | None = None
    error: str | None = None
    canceled: bool = False

    @property
    def columns(self) -> int:
        return math.ceil(self.request.width / PATCH_PX)

    @property
    def rows(self) -> int:
        return math.ceil(self.request.height / PATCH_PX)

    def add(self, kind: str, **data: Any) -> None:
        self.log.append((f"{time.time_ns() // 1_000_000}-{len(self.log)}", kind, {"version": 1, "kind": kind, **data}))

    def body(self, ahead: int) -> dict[str, Any]:
        own = f"/jobs/{self.id}"
        return {
            "id": self.id, "status": self.status, "queue_position": ahead if self.status == "queued" else None,
            "patches_done": self.done, "patches_total": self.rows * self.columns, "task": self.request.resolved_task,
            "prompt": self.request.prompt, "width": self.request.width, "height": self.request.height,
            "seed": self.seed, "order": "omega", "model": "landscapes", "sampling": self.request.sampling.model_dump(),
            "created_at": self.created.isoformat(), "started_at": self.started and self.started.isoformat(),
            "ended_at": self.ended and self.ended.isoformat(), "error": self.error,
            "links": {"self": own, "events": f"{own}/events", "result": f"{own}/result", "cancel": own},
        }  # fmt: skip


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
        self.posted: list[dict[str, Any]] = []
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
        app.mount("/static", StaticFiles(directory=STATIC))
        app.add_api_route("/", lambda: FileResponse(STATIC / "index.html", headers={"Content-Security-Policy": POLICY}))
        app.add_api_route("/models", self._models)
        app.add_api_route("/generate", self._generate, methods=["POST"])
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

    async def _models(self) -> Response:
        limits = {"max_width": MAX_SIDE, "max_height": MAX_SIDE, "max_pixels": 2**24, "max_prompt_chars": 2000}
        orders = ["omega", "omega_star", "zeta", "zeta_star"]
        model = {"name": "landscapes", "version": "1", "patch_px": PATCH_PX, "orders": orders, "limits": limits}
        return JSONResponse({"models": [model], "default": "landscapes"})

    async def _generate(self, request: Request) -> Response:
        body = await request.json()
        self.posted.append(body)
        if self.refusals:
            status, detail, after = self.refusals.pop(0)
            return self._problem(status, detail, after=after)
        try:
            wanted = GenerateRequest.model_validate(body)
        except ValidationError as error:
            errors = [{"pointer": "/" + "/".join(map(str, e["loc"])), "message": e["msg"]} for e in error.errors()]
            return self._problem(422, "Some fields are not acceptable.", errors)
        if wanted.width * wanted.height > 2**24:
            return self._problem(
                422, "Too large.", [{"pointer": "/width", "message": "width x height is at most 16777216."}]
            )
        seed = random.getrandbits(32) if wanted.seed is None else wanted.seed
        job = FakeJob(f"job-{len(self.jobs) + 1}", wanted, seed)
        self.jobs[job.id] = job
        job.add("job.queued")
        self._tasks.append(asyncio.create_task(self._run(job)))
        return JSONResponse(job.body(self.ahead), 202, {"Location": f"/jobs/{job.id}"})

    async def _run(self, job: FakeJob) -> None:
        await self._until(lambda: self.ahead == 0 or job.canceled)
        if not job.canceled:
            job.status, job.started = "running", datetime.now(UTC)
            await self._make_patches(job)
        job.ended = datetime.now(UTC)
        if job.canceled:
            job.status = "canceled"
            job.add("job.canceled", done=job.done)
        elif job.request.prompt and "impossible" in job.request.prompt:
            job.status, job.error = "failed", "The model gave up on this picture."
            job.add("job.failed", code="engine_error", message=job.error)
        else:
            job.status = "succeeded"
            seconds = (job.ended - (job.started or job.ended)).total_seconds()
            job.add("job.finished", seconds=seconds, sha256="0" * 64)

    @staticmethod
    async def _until(true: Callable[[], bool]) -> None:
        while not true():  # noqa: ASYNC110  (the strings are pulled from the test's thread, where no event can be set)
            await asyncio.sleep(0.01)

    async def _make_patches(self, job: FakeJob) -> None:
        width, height, total = job.request.width, job.request.height, job.rows * job.columns
        picture = paint_landscape(width, height, job.seed)
        job.add(
            "job.started", model="landscapes", model_version="1", seed=job.seed, order="omega", width=width,
            height=height, patch_px=PATCH_PX, rows=job.rows, columns=job.columns, total=total, rounds=total,
        )  # fmt: skip
        places = sorted(
            ((r, c) for r in range(job.rows) for c in range(job.columns)), key=lambda at: (at[1] + 2 * at[0], at)
        )
        rough: list[dict[str, Any]] = []
        for row, column in places:
            await self._until(lambda: self.hold_after is None or job.done < self.hold_after or job.canceled)
            if job.canceled or (job.request.prompt and "impossible" in job.request.prompt and job.done == 5):
                return
            box = (
                column * PATCH_PX,
                row * PATCH_PX,
                min(width, (column + 1) * PATCH_PX),
                min(height, (row + 1) * PATCH_PX),
            )
            place = {"index": row * job.columns + column, "frame": 0, "row": row, "column": column, "box": box}
            job.done += 1
            # The first version is a shade off, as a patch without its neighbours is.
            first = _webp(picture.crop(box).point(lambda value: max(0, value - 3)))
            job.add("patch", **place, done=job.done, total=total, **self._image(first))
            rough.append(place)
            if len(rough) > job.rows + 1:
                self._refine(job, picture, rough.pop(0))
            await asyncio.sleep(self.patch_seconds)
        for place in rough:
            self._refine(job, picture, place)

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
        if job.status != "succeeded":
            return self._problem(409, "The picture is not finished.", after=1)
        data = io.BytesIO()
        paint_landscape(job.request.width, job.request.height, job.seed).save(data, format)
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
