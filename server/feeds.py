"""Event fan-out: however many viewers watch however many jobs, one blocking read of the broker per process.

    reader    one task; waits for all watched logs at once, follows each to its end, and wakes its viewers
    Feed      one watched job: how far its log is known, what came last, and the signal that it has grown
    Page      some events after one cursor, encoded; viewers at the same cursor share the read and the bytes

An event is read once, by the reader, however many watch it live; only who is behind reads the log again.

Viewers pull. A slow one holds a cursor and one page, never a queue, so it neither delays others nor costs more with
time. A log only grows, so a page that was read once stays right for ever and is kept while there is room.
"""

import asyncio
import contextlib
import logging
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from dataclasses import dataclass, field

from jobs.broker.base import LOG_START, Broker, LoggedEvent
from jobs.errors import BrokerUnavailable, JobNotFound
from jobs.events import TERMINAL, PatchEvent, PatchRefined
from server.sse import Pixels, encode_event_frame

PAGE_EVENTS = 16  # some 100 kB with 64-pixel patches inside: little enough for every slow viewer to hold one
CACHE_BYTES = 32 * 2**20
WAIT_S = 5.0  # the reader starts anew this often even when nothing happens
RETRY_S = 1.0  # between attempts while the broker is away
TOGETHER_S = 0.015  # events that follow one another so soon are read together

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Page:
    """Events of one log from one cursor on, as they go to the wire. Never empty."""

    frames: tuple[bytes, ...]
    last_id: str
    ended: bool  # the last event is terminal
    size: int


@dataclass
class Feed:
    """One watched job. `grown` is set, and replaced, whenever the log has grown: take it before reading the log."""

    job_id: str
    cursor: str = LOG_START  # the reader has seen the log up to here
    latest: tuple[str, Sequence[LoggedEvent]] = (LOG_START, ())  # events that it met last, and the cursor before them
    ended: bool = False
    viewers: int = 0
    grown: asyncio.Event = field(default_factory=asyncio.Event)
    # Reads under way. Emptied with every growth, so that nobody joins a read that began before it.
    reading: dict[tuple[str, Pixels], asyncio.Task[Page | None]] = field(default_factory=dict)

    def wake(self) -> None:
        self.grown.set()
        self.grown = asyncio.Event()
        self.reading = {}


class Feeds:
    """All feeds of a process, their reader and their pages. `run` must be running while anyone watches.

    seen: called with a job's events as the reader meets them.
    """

    def __init__(
        self,
        broker: Broker,
        seen: Callable[[str, Sequence[LoggedEvent]], None] = lambda job_id, events: None,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self._broker = broker
        self._seen = seen
        self._cache_bytes = cache_bytes
        self._feeds: dict[str, Feed] = {}
        self._joined = asyncio.Event()
        self._pages: OrderedDict[tuple[str, str, Pixels], Page] = OrderedDict()
        self._pages_bytes = 0
        self.closing = False

    @property
    def viewers(self) -> int:
        return sum(feed.viewers for feed in self._feeds.values())

    @contextlib.contextmanager
    def watch(self, job_id: str) -> Iterator[Feed]:
        """The feed of a job, followed by the reader for as long as anyone is inside."""
        if job_id not in self._feeds:
            self._feeds[job_id] = Feed(job_id)
            self._joined.set()
        feed = self._feeds[job_id]
        feed.viewers += 1
        try:
            yield feed
        finally:
            feed.viewers -= 1
            if feed.viewers == 0:
                del self._feeds[job_id]

    def close(self) -> None:
        """End every stream now; viewers come back to whichever gateway is there then."""
        self.closing = True
        for feed in self._feeds.values():
            feed.wake()

    async def page(self, feed: Feed, after: str, pixels: Pixels) -> Page | None:
        """The events after a cursor, None where there are none yet.

        Raises JobNotFound, BrokerUnavailable; ValueError for a malformed cursor.
        """
        if after == feed.cursor != LOG_START:
            return None  # the reader is no further; it wakes whoever waits
        kept = self._pages.get((feed.job_id, after, pixels))
        if kept is not None:
            self._pages.move_to_end((feed.job_id, after, pixels))
            return kept
        reading, key = feed.reading, (after, pixels)
        task = reading.get(key)
        if task is None:
            task = reading[key] = asyncio.create_task(self._read(feed, after, pixels))
            task.add_done_callback(lambda done: (reading.pop(key, None), done.cancelled() or done.exception()))
        return await asyncio.shield(task)  # a viewer that leaves must not break the read for others

    async def follow(self, feed: Feed, after: str, pixels: Pixels) -> AsyncGenerator[tuple[bytes, ...]]:
        """A job's events on the wire, from a cursor to the terminal one; patient while the broker is away."""
        while not self.closing:
            grown, ended = feed.grown, feed.ended  # before the read: what happens meanwhile must not be missed
            try:
                page = await self.page(feed, after, pixels)
            except BrokerUnavailable:
                await asyncio.sleep(RETRY_S)
                continue
            except JobNotFound:  # its time to live has passed
                return
            if page is not None:
                yield page.frames
                if page.ended:
                    return
                after = page.last_id
            elif ended:
                return
            else:
                await grown.wait()

    async def until_ended(self, job_id: str, wait_s: float) -> bool:
        """Whether the job's log ended within this time; the reader follows it meanwhile."""
        with self.watch(job_id) as feed, contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                while not feed.ended and not self.closing:
                    await feed.grown.wait()
            return feed.ended
        return False

    async def _read(self, feed: Feed, after: str, pixels: Pixels) -> Page | None:
        job_id, (before, latest) = feed.job_id, feed.latest
        if after == before and latest:
            events = latest[:PAGE_EVENTS]
        else:
            events = await self._broker.read(job_id, after, PAGE_EVENTS)
        if not events:
            return None
        images: list[bytes | None] = [None] * len(events)
        if pixels is Pixels.INLINE:
            images = await self._images(job_id, events)
        frames = tuple(
            encode_event_frame(job_id, logged, pixels, image) for logged, image in zip(events, images, strict=True)
        )
        page = Page(frames, events[-1].id, isinstance(events[-1].event, TERMINAL), sum(map(len, frames)))
        self._keep((job_id, after, pixels), page)
        return page

    async def _images(self, job_id: str, events: Sequence[LoggedEvent]) -> list[bytes | None]:
        """The image of each event, None for events without one."""
        keys = {
            logged.id: (logged.event.index, isinstance(logged.event, PatchRefined))
            for logged in events
            if isinstance(logged.event, PatchEvent | PatchRefined)
        }
        found = await self._broker.images(job_id, list(keys.values())) if keys else []
        images = dict(zip(keys, found, strict=True))
        return [images.get(logged.id) for logged in events]

    def _keep(self, key: tuple[str, str, Pixels], page: Page) -> None:
        if key in self._pages:
            return
        self._pages[key] = page
        self._pages_bytes += page.size
        while self._pages_bytes > self._cache_bytes:
            self._pages_bytes -= self._pages.popitem(last=False)[1].size

    async def run(self) -> None:
        """The reader. Ends only by being canceled."""
        while True:
            self._joined.clear()
            cursors = {feed.job_id: feed.cursor for feed in self._feeds.values() if not feed.ended}
            try:
                if cursors:
                    for job_id, events in (await self._wait(cursors)).items():
                        self._advance(job_id, events)
                    await asyncio.sleep(TOGETHER_S)
                else:
                    await self._joined.wait()
            except BrokerUnavailable:
                await asyncio.sleep(RETRY_S)
            except Exception:
                log.exception("The event reader met an error; it goes on")
                await asyncio.sleep(RETRY_S)

    async def _wait(self, cursors: dict[str, str]) -> dict[str, list[LoggedEvent]]:
        """What jobs' logs have grown by; nothing when time is up, or when a newcomer has to be waited for as well."""
        growth = asyncio.create_task(self._broker.wait(cursors, WAIT_S))
        newcomer = asyncio.create_task(self._joined.wait())
        try:
            await asyncio.wait({growth, newcomer}, return_when=asyncio.FIRST_COMPLETED)
            return growth.result() if growth.done() else {}
        finally:
            growth.cancel()
            newcomer.cancel()
            await asyncio.gather(growth, newcomer, return_exceptions=True)

    def _advance(self, job_id: str, events: Sequence[LoggedEvent]) -> None:
        """Take in what a log has grown by, and wake its viewers."""
        feed = self._feeds.get(job_id)
        if feed is None:  # nobody watches any more
            return
        self._seen(job_id, events)
        feed.latest = (feed.cursor, events)
        feed.cursor = events[-1].id
        feed.ended = isinstance(events[-1].event, TERMINAL)
        feed.wake()
