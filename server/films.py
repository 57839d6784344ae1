"""Films as answers: the one that grows while it is drawn, single frames as PNG, and the finished one in any format."""

import asyncio
import io
import os
from collections.abc import AsyncGenerator, Sequence
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path

from PIL import Image
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from canvas.grid import Box, Patch
from jobs.broker.base import Broker
from jobs.job import ENDED, Job, JobState
from jobs.store import Kind
from server.errors import FilmNotBegun, FrameNotFound, InvalidRequest, NoFilm, ResultGone
from server.feeds import Feed
from server.files import StoredFile, no_longer_kept
from server.gateway import Gateway
from server.wording import field_error

BEGINNING_S = 20.0  # how long a viewer waits for the first frame: less than any proxy's patience
CHUNK_BYTES = 2**18
HEADER_BYTES = 2**12  # of a film in fragments; the codec's parameters stand among the first 1,000


class FilmFormat(StrEnum):
    """The file formats of a finished film."""

    MP4 = "mp4"
    WEBM = "webm"
    WEBP = "webp"
    GIF = "gif"

    @property
    def media_type(self) -> str:
        return f"{'video' if self in (FilmFormat.MP4, FilmFormat.WEBM) else 'image'}/{self.value}"

    @property
    def kind(self) -> Kind:
        """What the store calls it."""
        kinds: dict[str, Kind] = {"mp4": "result", "webm": "webm", "webp": "webp", "gif": "gif"}
        return kinds[self.value]


async def film_file(gateway: Gateway, job: Job, wanted: FilmFormat) -> tuple[Path, os.stat_result]:
    """Where a finished film is in this format. Raises ResultGone; InvalidRequest where the format cannot show it."""
    path = gateway.store.path(job.id, wanted.kind)
    try:
        return path, await asyncio.to_thread(path.stat)
    except FileNotFoundError:
        if wanted is FilmFormat.GIF and await asyncio.to_thread(gateway.store.path(job.id).exists):
            rule = f"must be mp4, webm or webp: gif shows at most 50 frames a second, this film has {job.request.fps}"
            raise InvalidRequest(field_error("format", rule, limit=50)) from None
        raise no_longer_kept() from None


async def growing_film(gateway: Gateway, state: JobState) -> Response:
    """The film as far as it is there, and then as it grows; of a job that has ended as a file, also in parts.

    Raises NoFilm; FilmNotBegun when there is nothing of it after BEGINNING_S; ResultGone when there never will be.
    """
    job = state.job
    if not job.is_film:
        raise NoFilm("The job draws a picture, not a film.")
    path = gateway.store.path(job.id, "film")
    with ExitStack() as stack:
        feed = stack.enter_context(gateway.feeds.watch(job.id))
        try:
            async with asyncio.timeout(BEGINNING_S):
                while True:
                    grown, is_over = feed.grown, state.status in ENDED or feed.ended  # before the read
                    if codecs := await asyncio.to_thread(_codecs, path):
                        break
                    if is_over:
                        raise ResultGone("There is nothing of this film, and nothing more will come.")
                    if gateway.feeds.closing:
                        raise TimeoutError
                    await grown.wait()
                    state = await gateway.broker.state(job.id)
        except TimeoutError:
            raise FilmNotBegun(f"The job is {state.status.value}; its first frame is not complete yet.") from None
        media_type = f'video/mp4; codecs="{codecs}"'
        if is_over:
            stat = await asyncio.to_thread(path.stat)
            return StoredFile(path, 200, {"Cache-Control": "private, max-age=3600"}, media_type, stat_result=stat)
        return GrowingFilm(_grow(gateway, path, feed), stack.pop_all(), media_type)


class GrowingFilm(StreamingResponse):
    """A film as a response. `watching` is closed when the viewer leaves, however that happens."""

    def __init__(self, chunks: AsyncGenerator[bytes], watching: ExitStack, media_type: str) -> None:
        self._chunks, self._watching = chunks, watching
        headers = {"Cache-Control": "no-store, no-transform", "X-Accel-Buffering": "no"}
        super().__init__(chunks, 200, headers, media_type)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._watching.close()
            await self._chunks.aclose()


async def _grow(gateway: Gateway, path: Path, feed: Feed) -> AsyncGenerator[bytes]:
    """All bytes from the first, waiting for more while the job is not over."""
    sent = 0
    while True:
        grown, ended = feed.grown, feed.ended or gateway.feeds.closing  # before the read
        data = await asyncio.to_thread(_read, path, sent)
        if data:
            sent += len(data)
            yield data
        elif ended:
            return
        else:
            await grown.wait()


def _read(path: Path, start: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(start)
            return file.read(CHUNK_BYTES)
    except FileNotFoundError:  # its time to live has passed
        return b""


def _codecs(path: Path) -> str:
    """What MediaSource calls the codec, from the film's own header; empty while there is no film.

    Source: ISO/IEC 14496-15, AVCDecoderConfigurationRecord: version, then profile, compatibility and level.
    """
    try:
        with path.open("rb") as file:
            header = file.read(HEADER_BYTES)
    except FileNotFoundError:
        return ""
    _, found, record = header.partition(b"avcC")
    return f"avc1.{record[1:4].hex()}" if found and len(record) >= 4 else ""


async def frame_png(broker: Broker, job: Job, frame: int) -> bytes:
    """A frame that is complete, put together from the final pixels of its patches. Raises FrameNotFound, NoFilm."""
    if not job.is_film:
        raise NoFilm("The job draws a picture, not a film.")
    layout = job.layout
    if not 0 <= frame < layout.grid.frames:
        raise FrameNotFound(f"The film has frames 0 to {layout.grid.frames - 1}.")
    rows, columns = layout.grid.rows, layout.grid.columns
    patches = [Patch(frame, row, column) for row in range(rows) for column in range(columns)]
    # What was given is final as it is; everything else once it is refined.
    is_refined = job.given is None or frame > 0
    images = await broker.images(job.id, [(layout.grid.index(patch), is_refined) for patch in patches])
    if any(image is None for image in images):
        raise FrameNotFound(f"Frame {frame} is not complete yet, or no longer kept.")
    boxes = [layout.box(patch) for patch in patches]
    return await asyncio.to_thread(_assemble, layout.width, layout.height, boxes, [image or b"" for image in images])


def _assemble(width: int, height: int, boxes: Sequence[Box], images: Sequence[bytes]) -> bytes:
    picture, out = Image.new("RGB", (width, height)), io.BytesIO()
    for box, data in zip(boxes, images, strict=True):
        with Image.open(io.BytesIO(data)) as image:
            picture.paste(image, box[:2])
    picture.save(out, "PNG", compress_level=1)
    return out.getvalue()
