"""Server-sent events: how an event looks on the wire, and a response that keeps a stream of them alive.

Not FastAPI's own SSE responses: they encode every event again for every viewer, and a job's events are encoded once.
Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import asyncio
import base64
from collections.abc import AsyncGenerator, Sequence
from contextlib import ExitStack
from enum import StrEnum

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from jobs.broker.base import LoggedEvent
from jobs.events import PatchEvent, PatchRefined, encode_event

MEDIA_TYPE = "text/event-stream"
PING_S = 15.0  # proxies cut silent streams after 60 to 125 s
EVENT_SCHEMA = {
    "type": "object",
    "required": ["id", "event", "data"],
    "properties": {"id": {"type": "string"}, "event": {"type": "string"}, "data": {"type": "string"}},
}
FIRST_BYTES = b"retry: 2000\n\n"
PING = b": ping\n\n"
HEADERS = {
    "Cache-Control": "no-cache, no-transform",  # no-transform: a proxy that compresses would hold events back
    "X-Accel-Buffering": "no",
}


class Pixels(StrEnum):
    """How an event carries the pixels of its patch: inside it, or as the address of a file."""

    INLINE = "inline"
    URL = "url"


def encode_event_frame(job_id: str, logged: LoggedEvent, pixels: Pixels, image: bytes | None) -> bytes:
    """One event on the wire. A patch whose pixels are kept no longer has `image` null."""
    event = logged.event
    data = encode_event(event)
    if isinstance(event, PatchEvent | PatchRefined):
        if pixels is Pixels.URL:
            extra = f'"url":"{patch_path(job_id, event.index, event.sha256)}"'.encode()
        elif image is None:
            extra = b'"image":null'
        else:
            extra = b'"image":"data:image/webp;base64,' + base64.b64encode(image) + b'"'
        data = data[:-1] + b"," + extra + b"}"
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (logged.id.encode(), event.kind.encode(), data)


def patch_path(job_id: str, index: int, sha256: str) -> str:
    return f"/jobs/{job_id}/patches/{index}.webp?v={sha256[:16]}"


async def with_pings(pages: AsyncGenerator[Sequence[bytes]], ping_s: float) -> AsyncGenerator[bytes]:
    """The bytes of a stream: something at once, every event by itself, and a comment whenever nothing else was said."""
    yield FIRST_BYTES
    coming: asyncio.Task[Sequence[bytes] | None] | None = None
    try:
        while True:
            coming = coming or asyncio.ensure_future(anext(pages, None))
            await asyncio.wait({coming}, timeout=ping_s)
            if not coming.done():
                yield PING
                continue
            frames, coming = coming.result(), None
            if frames is None:
                return
            for frame in frames:  # one by one, so that a slow viewer's socket holds back one event, not a page
                yield frame
    finally:
        if coming is not None:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)
        await pages.aclose()


class EventStream(StreamingResponse):
    """A stream as a response. `watching` is closed when the viewer leaves, however that happens."""

    def __init__(
        self,
        pages: AsyncGenerator[Sequence[bytes]],
        watching: ExitStack,
        headers: dict[str, str] | None = None,
        ping_s: float = PING_S,
    ) -> None:
        self._watching = watching
        self._bytes = with_pings(pages, ping_s)
        super().__init__(self._bytes, 200, {**HEADERS, **(headers or {})}, MEDIA_TYPE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._watching.close()
            await self._bytes.aclose()
