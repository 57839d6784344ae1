"""A small gateway for the page's tests: speaks the HTTP interface, makes its jobs by itself, and obeys the test."""

import asyncio
import io
import socket
import tempfile
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse
from fastapi.staticfiles import StaticFiles
from page_jobs import MODEL, FakeJob, webp
from page_worker import PageWorker
from PIL import Image

from jobs.broker.memory import MemoryBroker
from jobs.job import Job, JobStatus, ModelInfo, candidate_id
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
from server.schemas import GroupView

STATIC = Path(__file__).parents[2] / "server" / "static"
# As strict as a policy can be while the page works: a page that needs more fails its tests.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "media-src 'self' blob:; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
TERMINAL = {"job.finished": "succeeded", "job.failed": "failed", "job.canceled": "canceled"}


class Announced(MemoryBroker):
    """A broker to which one worker has said what it serves."""

    def __init__(self) -> None:
        super().__init__()
        self.info = MODEL

    async def models(self) -> list[ModelInfo]:
        return [self.info]


class PageGateway(PageWorker):
    """Serve the page on a free port. Its public attributes are the strings a test pulls, at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.refusals: list[tuple[int, str, int]] = []  # next answers to POST /generate: status, detail, Retry-After
        self.cut_after: int | None = None  # each stream is cut after this many events
        self.refuse_streams = False
        self.cut_film_after: int | None = None  # each stream of a film is cut after this many bytes
        self.films_opened = 0
        self.frames_sent: list[int] = []  # which frames were asked for as pictures
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
        self._folder = tempfile.TemporaryDirectory()
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
        self._folder.cleanup()

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
        app.add_api_route("/jobs/{job_id}/given", self._given)
        app.add_api_route("/jobs/{job_id}/mask", self._mask)
        app.add_api_route("/jobs/{job_id}/film", self._film)
        app.add_api_route("/jobs/{job_id}/frames/{index}", self._frame)
        app.add_api_route("/jobs/{job_id}/patches/{name}", self._patch)
        app.add_api_route("/groups/{group_id}", self._group)
        app.add_api_route("/groups/{group_id}", self._cancel_group, methods=["DELETE"])
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
        upload = request.state.files.image
        self.planned.append((await request.json(), None if upload is None else upload.data))

    async def _generate(self, request: Request, wanted: GenerateRequest) -> Response:
        upload = request.state.files.image
        self.posted.append(await request.json())
        self.files.append(upload and upload.data)
        if self.refusals:
            status, detail, after = self.refusals.pop(0)
            return self._problem(status, detail, after=after)
        prepared = await prepare(self.gateway, wanted, request.state.files)
        given = prepared.picture and Image.open(io.BytesIO(prepared.picture.png))
        mask = prepared.mask and prepared.mask.image
        first, *others = prepared.jobs
        if not others:
            fake = self._start(first.model_copy(update={"id": f"job-{len(self.jobs) + 1}"}), given, mask)
            return JSONResponse(fake.body(self.ahead), 202, {"Location": f"/jobs/{fake.job.id}"})
        for job in prepared.jobs:
            self._start(job, given, mask)
        assert first.candidate is not None
        group = first.candidate.group
        return JSONResponse(self._group_body(group), 202, {"Location": f"/groups/{group}"})

    def _start(self, job: Job, given: Image.Image | None, mask: Image.Image | None) -> FakeJob:
        fake = self.jobs[job.id] = FakeJob(job, given, mask)
        fake.add("job.queued")
        self._tasks.append(asyncio.create_task(self.run_job(fake)))
        return fake

    async def _job(self, job_id: str) -> Response:
        job = self.jobs.get(job_id)
        return JSONResponse(job.body(self.ahead)) if job else self._problem(404, f"There is no job {job_id}.")

    async def _cancel(self, job_id: str) -> Response:
        job = self.jobs.get(job_id)
        if job is None:
            return self._problem(404, f"There is no job {job_id}.")
        job.canceled = True
        await self.until(lambda: job.ended is not None)
        return JSONResponse(job.body(self.ahead))

    async def _result(self, job_id: str, format: str = "png", download: bool = False) -> Response:  # noqa: A002
        job = self.jobs.get(job_id)
        if job is None:
            return self._problem(404, f"There is no job {job_id}.")
        if job.status is not JobStatus.SUCCEEDED:
            return self._problem(409, "The picture is not finished.", after=1)
        headers = {"Content-Disposition": f'attachment; filename="picture.{format}"'} if download else {}
        if job.job.is_film:
            return FileResponse(
                job.film_file(Path(self._folder.name), format), 200, headers, media_type=f"video/{format}"
            )
        data = io.BytesIO()
        job.picture().save(data, format)
        return Response(data.getvalue(), 200, headers, media_type=f"image/{format}")

    async def _given(self, job_id: str) -> Response:
        job = self.jobs.get(job_id)
        if job is None or job.given is None:
            return self._problem(404, "No picture was given.")
        data = io.BytesIO()
        job.given.save(data, "PNG")
        return Response(data.getvalue(), media_type="image/png")

    async def _mask(self, job_id: str) -> Response:
        mask, data = self.jobs[job_id].mask, io.BytesIO()
        assert mask is not None
        mask.save(data, "PNG")
        return Response(data.getvalue(), media_type="image/png")

    async def _frame(self, job_id: str, index: int) -> Response:
        job = self.jobs.get(job_id)
        if job is None or index >= job.frames_done:
            return self._problem(404, "There is no such frame.")
        self.frames_sent.append(index)
        data = io.BytesIO()
        job.frame(index).save(data, "PNG")
        return Response(data.getvalue(), media_type="image/png")

    async def _patch(self, job_id: str, name: str) -> Response:
        job, index = self.jobs[job_id], int(name.removesuffix(".webp"))
        patch = job.job.layout.grid.patch(index)
        picture = job.frame(patch.frame) if job.job.is_film else job.picture()
        return Response(webp(picture.crop(job.job.layout.box(patch))), media_type="image/webp")

    async def _film(self, job_id: str) -> Response:
        job = self.jobs.get(job_id)
        if job is None or not job.film:
            return self._problem(409, "There is nothing of this film yet.", after=1)
        self.films_opened += 1
        return StreamingResponse(self._film_stream(job), media_type=job.film_type)

    async def _film_stream(self, job: FakeJob) -> AsyncIterator[bytes]:
        sent = 0
        while not self._ending:
            end = len(job.film) if self.cut_film_after is None else min(len(job.film), self.cut_film_after)
            if end > sent:
                yield bytes(job.film[sent:end])
                sent = end
            elif end == self.cut_film_after:
                return  # as a gateway that is stopped does it
            elif job.ended is not None:
                return
            else:
                await asyncio.sleep(0.02)

    def _group_body(self, group: str) -> dict[str, Any]:
        states = [fake.state(self.ahead) for fake in self.jobs.values() if fake.job.id.startswith(f"{group}-")]
        return GroupView.of(states).model_dump(mode="json")

    async def _group(self, group_id: str) -> Response:
        if candidate_id(group_id, 0) not in self.jobs:
            return self._problem(404, "There is no such group.")
        return JSONResponse(self._group_body(group_id))

    async def _cancel_group(self, group_id: str) -> Response:
        for job in [job for job in self.jobs.values() if job.job.id.startswith(f"{group_id}-")]:
            job.canceled = True
            await self.until(lambda job=job: job.ended is not None)  # type: ignore[misc]
        return JSONResponse(self._group_body(group_id))

    async def _events(self, job_id: str, request: Request, last_event_id: str = "", pixels: str = "inline") -> Response:
        job = self.jobs.get(job_id)
        if self.refuse_streams:
            return self._problem(503, "The queue is away.", after=1)
        if job is None:
            return self._problem(404, f"There is no job {job_id}.")
        cursor = request.headers.get("last-event-id", last_event_id)
        begin = next((i + 1 for i, (event_id, _, _) in enumerate(job.log) if event_id == cursor), 0)
        if begin and job.log[begin - 1][1] in TERMINAL:
            return Response(status_code=204)
        return StreamingResponse(self._stream(job, begin, pixels), media_type="text/event-stream")

    async def _stream(self, job: FakeJob, begin: int, pixels: str) -> AsyncIterator[str]:
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
                    if pixels == "url" and "image" in data:
                        path = f"/jobs/{job.job.id}/patches/{data['index']}.webp?v={data['sha256'][:16]}"
                        data = {name: value for name, value in data.items() if name != "image"} | {"url": path}
                    yield f"id: {event_id}\nevent: {kind}\ndata: {JSONResponse(data).body.decode()}\n\n"
                    if kind in TERMINAL:
                        return
                else:
                    await asyncio.sleep(0.02)
                    if self.refuse_streams:
                        return
        finally:
            self.open_streams -= 1
