"""`nuwa generate`: a picture or film into a file, drawn here or by a running server, with a bar of patches."""

import asyncio
import contextlib
import json
import os
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from cli.console import fail, say
from jobs.broker.base import LOG_START
from jobs.broker.memory import MemoryBroker
from jobs.events import TERMINAL, JobEvent
from jobs.request import FILM_TASKS, GenerateRequest, Task
from jobs.settings import GatewaySettings, WorkerSettings, load_settings
from jobs.store import FolderStore
from server.errors import InvalidRequest
from server.feeds import Feeds
from server.films import FilmFormat
from server.gateway import Gateway
from server.images import ResultFormat, convert
from server.metrics import Metrics
from server.prepare import prepare
from server.uploads import Files, Upload
from workers.engine import Engine
from workers.loop import Worker
from workers.main import load_engine

PICTURES = {".png": "png", ".webp": "webp", ".jpg": "jpeg", ".jpeg": "jpeg"}
FILMS = {".mp4": "mp4", ".webm": "webm", ".webp": "webp", ".gif": "gif"}
CONNECT_S = 5.0
SILENCE_S = 60.0  # four pings of a stream in which nothing happens

RECONNECTS_MAX = 30
RECONNECT_S = 1.0

OnEvent = Callable[[str, dict[str, Any]], None]


@dataclass(frozen=True)
class Wanted:
    """What is to be drawn, the picture it goes on from and a mask, and the format that its file's name asks for."""

    request: GenerateRequest
    files: Files
    format: str

    @property
    def is_film(self) -> bool:
        return self.request.resolved_task in FILM_TASKS


def generate(
    request: dict[str, Any],
    out: Path,
    image: Path | None = None,
    mask: Path | None = None,
    server: str | None = None,
    weights: Path | None = None,
    engine: str | None = None,
) -> None:
    """Draw what the request says (fields of GenerateRequest) into `out`. Raises typer.Exit when it cannot.

    image: a picture to go on from.  mask: what of it is drawn anew.
    """
    if not out.absolute().parent.is_dir():
        raise fail(f"{out}: there is no folder {out.absolute().parent}.")
    wanted = _checked(request, out, Files(_read(image, "image"), _read(mask, "mask")))
    begun: dict[str, Any] = {}
    with progress_bar() as show:

        def on_event(kind: str, data: dict[str, Any]) -> None:
            if kind == "job.started":
                begun.update(data)
            show(kind, data)

        if server is not None:
            made = draw_there(server, wanted, on_event)
        else:
            made = draw_here(wanted, weights, engine, on_event)
    out.write_bytes(made)
    length = f"{begun['frames']} frames of " if wanted.is_film else ""
    say(f"{out}: {length}{begun['width']}x{begun['height']} pixels")


def _read(file: Path | None, field: str) -> Upload | None:
    """Raises typer.Exit, having said what is wrong."""
    try:
        return None if file is None else Upload(file.read_bytes(), field=field)
    except OSError as error:
        raise fail(f"{file}: {error.strerror}.") from None


def _checked(request: dict[str, Any], out: Path, files: Files) -> Wanted:
    """Raises typer.Exit, having said what is wrong."""
    if "extend" in request:
        request = request | {"extend": {side: _whole(px) for side, px in request["extend"].items()}}
    if files.image is not None:
        is_film = "frames" in request or "fps" in request
        request = {"task": Task.IMAGE_ANIMATION if is_film else Task.IMAGE_OUTPAINTING} | request
    try:
        checked = GenerateRequest.model_validate(request)
    except ValidationError as error:
        raise fail("\n".join(": ".join([*map(str, e["loc"]), e["msg"]]) for e in error.errors())) from None
    formats = FILMS if checked.resolved_task in FILM_TASKS else PICTURES
    if out.suffix.lower() not in formats:
        what = "film" if formats is FILMS else "picture"
        raise fail(f"{out}: name a {', '.join(formats)} file for a {what}.")
    return Wanted(checked, files, formats[out.suffix.lower()])


def _whole(text: str) -> int | str:
    """A whole number as one, anything else as it is: the request's rules say what is wrong with it."""
    return int(text) if text.isascii() and text.removeprefix("-").isdigit() else text


@contextlib.contextmanager
def progress_bar() -> Iterator[OnEvent]:
    """A bar of patches on standard error, moved by a job's events: yields what wants to be told of each."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("patches"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("waiting", total=None)

        def on_event(kind: str, data: dict[str, Any]) -> None:
            match kind:
                case "job.started":
                    progress.update(bar, description=f"drawing, seed {data['seed']}", total=data["total"])
                case "job.resumed":
                    progress.update(bar, completed=data["done"])
                case "patch":
                    progress.update(bar, completed=data["done"], total=data["total"])
                case "job.failed":
                    raise fail(f"It failed: {data['message']} ({data['code']})")
                case "job.canceled":
                    raise fail("It was canceled.")

        yield on_event


# In this process


def draw_here(wanted: Wanted, weights: Path | None, engine: str | None, on_event: OnEvent) -> bytes:
    """The file, by the worker's own code with a queue in memory: the same bytes as from a server."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch loads: an idle thread that spins takes a core
    settings = load_settings(WorkerSettings, weights=weights, engine=engine)
    try:
        return asyncio.run(_draw_here(wanted, load_engine(settings), on_event))
    except InvalidRequest as error:
        raise fail("\n".join(fault.message for fault in error.errors)) from None


async def _draw_here(wanted: Wanted, engine: Engine, on_event: OnEvent) -> bytes:
    broker = MemoryBroker()
    with tempfile.TemporaryDirectory(prefix="nuwa-") as folder:
        store = FolderStore(Path(folder))
        worker = Worker(broker, store, engine, "here", idle_wait_s=0.05)
        await broker.announce("here", [engine.model], ttl_s=1)
        gateway = Gateway(load_settings(GatewaySettings), broker, store, Feeds(broker), Metrics())
        prepared = await prepare(gateway, wanted.request, wanted.files)
        job = prepared.job
        prepared.keep(store)
        await broker.submit(job, job.total)
        working = asyncio.create_task(worker.run())
        async for event in _events(broker, job.id, working):
            on_event(event.kind, event.model_dump())
        worker.drain()
        await working
        if not wanted.is_film:
            return convert(store.path(job.id), ResultFormat(wanted.format))
        film = store.get(job.id, FilmFormat(wanted.format).kind)
    if film is None:
        raise fail("A GIF shows at most 50 frames a second: name another format, or a lower --fps.")
    return film


async def _events(broker: MemoryBroker, job_id: str, working: asyncio.Task[None]) -> AsyncIterator[JobEvent]:
    """A job's events as they happen, to its terminal one; a fault of the worker is raised here."""
    cursor = LOG_START
    while True:
        await broker.wait({job_id: cursor}, 0.5)
        for logged in await broker.read(job_id, cursor):
            yield logged.event
            if isinstance(logged.event, TERMINAL):
                return
            cursor = logged.id
        if working.done():
            working.result()


# By a server


def draw_there(server: str, wanted: Wanted, on_event: OnEvent) -> bytes:
    """The file as of GET /jobs/{id}/result, drawn by a running server."""
    body = wanted.request.model_dump(mode="json", exclude_unset=True)
    with client_of(server) as client:
        sent = [upload for upload in (wanted.files.image, wanted.files.mask) if upload is not None]
        if not sent:
            job = ask(client, "POST", "/generate", json=body).json()
        else:
            form: dict[str, Any] = {upload.field: (upload.field, upload.data) for upload in sent}
            job = ask(client, "POST", "/generate", files={"request": (None, json.dumps(body)), **form}).json()
        for kind, data in follow(client, job["links"]["events"]):
            on_event(kind, data)
        return ask(client, "GET", job["links"]["result"], params={"format": wanted.format}).content


def client_of(server: str) -> httpx.Client:
    return httpx.Client(base_url=server, timeout=httpx.Timeout(SILENCE_S, connect=CONNECT_S))


def ask(client: httpx.Client, method: str, path: str, **rest: Any) -> httpx.Response:
    """One request. Raises typer.Exit, having said why, when the server is away or refuses."""
    try:
        response = client.request(method, path, **rest)
    except httpx.TransportError as error:
        raise fail(
            f"No answer from {client.base_url}: {error}. Is the server running? Start it with: nuwa serve"
        ) from None
    if response.is_error:
        raise fail(problem_of(response))
    return response


def problem_of(response: httpx.Response) -> str:
    """What a problem document (RFC 9457) says, field by field; the bare status of anything else."""
    try:
        problem = response.json()
        fields = [f"{e['pointer'].removeprefix('/')}: {e['message']}" for e in problem.get("errors") or []]
        return "\n".join(fields or [problem.get("detail") or problem["title"]])
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{response.request.url} answered {response.status_code} {response.reason_phrase}"


def follow(client: httpx.Client, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Kind and data of each event of a job, once and in order, over as many connections as it takes."""
    last_id: str | None = None
    cuts_in_a_row = 0
    while True:
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last_id} if last_id else {})
        try:
            with client.stream("GET", path, params={"pixels": "url"}, headers=headers) as response:
                if response.is_error:
                    response.read()
                    if response.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                        raise fail(problem_of(response))
                for event_id, kind, data in parse_stream(response.iter_lines()):
                    last_id, cuts_in_a_row = event_id, 0
                    yield kind, data
                    if kind in ("job.finished", "job.failed", "job.canceled"):
                        return
        except httpx.TransportError:
            pass  # cut: go on after the last event that was read
        cuts_in_a_row += 1
        if cuts_in_a_row > RECONNECTS_MAX:
            raise fail(
                f"The connection to {client.base_url} was lost. The job goes on there: {path.removesuffix('/events')}"
            )
        time.sleep(RECONNECT_S)


def parse_stream(lines: Iterable[str]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Id, kind and data of server-sent events, each of whose data is one line of JSON, as the gateway sends them."""
    event: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(":")
            event[name] = value.removeprefix(" ")
        elif "data" in event:
            yield event["id"], event["event"], json.loads(event["data"])
            event = {}
        else:
            event = {}  # a ping, or the retry time


def list_models(server: str) -> None:
    with client_of(server) as client:
        answer = ask(client, "GET", "/models").json()
    if not answer["models"]:
        say("No worker is alive, so there is no model. Start one with: nuwa worker")
    for model in answer["models"]:
        default = " (default)" if model["name"] == answer["default"] else ""
        say(f"{model['name']}{default}: {model['description']}")
        say(f"  {model['parameters'] / 1e6:.1f} M parameters, licence {model['licence']}, version {model['version']}")
        say(f"  patches of {model['patch_px']} px, up to {model['limits']['max_pixels']:,} px in a picture")
        say(f"  orders: {', '.join(model['orders'])}")
