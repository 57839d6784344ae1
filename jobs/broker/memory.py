"""The broker inside one process, for tests: what redis.py does, in plain Python. Nothing outlives the object."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from jobs.broker.base import DEAD_LETTERS_MAX, LOG_START, BrokerLimits, Lease, LoggedEvent, NewEvent
from jobs.broker.rules import (
    KEY_REUSED,
    batch_digest,
    check_batch,
    check_count,
    end_status,
    error_of,
    fit_of,
    may_change,
    parse_cursor,
    too_many_deliveries,
)
from jobs.errors import IdempotencyKeyReused, JobNotFound, LeaseLost, QueueFull
from jobs.events import JobCanceled, JobEvent, JobQueued, PatchEvent, PatchRefined
from jobs.job import ENDED, Job, JobState, JobStatus, ModelInfo, together

_POLL_S = 0.02  # how soon a waiting take() notices that the clock it was given has moved


@dataclass
class _Record:
    """Everything known of one job."""

    job: Job
    total: int
    status: JobStatus = JobStatus.QUEUED
    log: list[NewEvent] = field(default_factory=list)  # entry ids are 1-0, 2-0, ...
    images: dict[tuple[int, bool], bytes] = field(default_factory=dict)
    patches_done: int = 0
    deliveries: int = 0
    fruitless: int = 0  # deliveries since the last new patch
    epoch: int = 0
    worker: str | None = None  # who holds the lease; None after release() and at the end
    lease_ends: float = 0.0
    cancel_requested: bool = False
    end: JobEvent | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    expires: float | None = None
    last_digest: str = ""
    last_ids: list[str] = field(default_factory=list)


class MemoryBroker:
    """Keeps the promises of jobs.broker.base.Broker inside one event loop.

    clock: Unix seconds; tests move it to let leases and jobs run out. Waiting itself takes real time.
    """

    def __init__(self, limits: BrokerLimits | None = None, clock: Callable[[], float] = time.time) -> None:
        self._limits = limits or BrokerLimits()
        self._clock = clock
        self._records: dict[str, _Record] = {}
        self._claims: dict[str, str] = {}
        self._waiting: list[str] = []  # ids of queued jobs, next first
        self._dead: list[Job] = []
        self._workers: dict[str, tuple[float, tuple[ModelInfo, ...]]] = {}  # name -> (forgotten at, models)
        self._changed = asyncio.Event()  # set, and replaced, at every change

    async def submit(self, job: Job, total: int) -> None:
        await self.submit_all([(job, total)])

    async def submit_all(self, jobs: Sequence[tuple[Job, int]]) -> None:
        known = self._live_records()
        first = jobs[0][0] if jobs else None
        claim = None if first is None else first.claim
        if first is not None and claim is not None and await self.claimed(claim) not in (None, first.id):
            raise IdempotencyKeyReused(KEY_REUSED)
        new = [(job, total) for job, total in jobs if job.id not in known]
        if new and len(self._waiting) + len(new) > self._limits.queue_max:
            raise QueueFull(f"{self._limits.queue_max} jobs may wait; {len(self._waiting)} do")
        if first is not None and claim is not None:
            self._claims[claim] = first.id
        for job, total in new:
            self._records[job.id] = _Record(job, total, log=[NewEvent(JobQueued())])
            self._waiting.append(job.id)
        self._notify()

    async def claimed(self, name: str) -> str | None:
        holder = self._claims.get(name)
        return holder if holder in self._live_records() else None

    async def state(self, job_id: str) -> JobState:
        record = self._find(job_id)
        return JobState(
            job=record.job,
            status=record.status,
            patches_done=record.patches_done,
            patches_total=record.total,
            queue_position=self._waiting.index(job_id) if record.status is JobStatus.QUEUED else None,
            deliveries=record.deliveries,
            error=error_of(record.end),
            fit=fit_of(record.end),
            started_at=record.started_at,
            ended_at=record.ended_at,
        )

    async def depth(self) -> int:
        return len(self._waiting)

    async def take(self, worker: str, count: int, wait_s: float) -> list[tuple[Lease, Job]]:
        check_count(count)
        deadline = time.monotonic() + wait_s
        while True:
            taken = self._take_now(worker, count)
            self._notify()  # a job may have ended here: canceled, or delivered too often
            left_s = deadline - time.monotonic()
            if taken or left_s <= 0:
                return taken
            await self._wait_for_change(min(left_s, _POLL_S))

    def _take_now(self, worker: str, count: int) -> list[tuple[Lease, Job]]:
        taken: list[tuple[Lease, Job]] = []
        abandoned = [job_id for job_id, record in self._live_records().items() if self._is_abandoned(record)]
        for job_id in abandoned + list(self._waiting):
            if len(taken) == count:
                break
            record = self._records[job_id]
            if record.cancel_requested:
                self._end(record, JobCanceled(done=record.patches_done))
            elif record.fruitless >= self._limits.max_deliveries:
                self._dead = [*self._dead, record.job][-DEAD_LETTERS_MAX:]
                self._end(record, too_many_deliveries(self._limits))
            else:
                taken.append((self._lease(record, worker), record.job))
        return taken

    def _is_abandoned(self, record: _Record) -> bool:
        held = record.worker is not None and self._clock() < record.lease_ends
        return record.status is JobStatus.RUNNING and not held

    def _lease(self, record: _Record, worker: str) -> Lease:
        self._change(record, JobStatus.RUNNING)
        record.epoch += 1
        record.deliveries += 1
        record.fruitless += 1
        record.worker = worker
        record.lease_ends = self._clock() + self._limits.lease_s
        record.started_at = record.started_at or self._now()
        return Lease(record.job.id, worker, record.epoch, record.deliveries)

    async def renew(self, lease: Lease) -> None:
        self._held(lease).lease_ends = self._clock() + self._limits.lease_s

    async def release(self, lease: Lease) -> None:
        self._held(lease).worker = None
        self._notify()

    async def cancel(self, job_id: str) -> JobState:
        record = self._find(job_id)
        if record.status is JobStatus.QUEUED or self._is_abandoned(record):
            self._end(record, JobCanceled(done=record.patches_done))
            self._notify()
        elif record.status is JobStatus.RUNNING:
            record.cancel_requested = True
        return await self.state(job_id)

    async def cancel_requested(self, lease: Lease) -> bool:
        return self._held(lease).cancel_requested

    async def announce(self, worker: str, models: Sequence[ModelInfo], ttl_s: float) -> None:
        self._workers[worker] = (self._clock() + ttl_s, tuple(models))

    async def models(self) -> list[ModelInfo]:
        unique = {(model.name, model.version): model for models in self._alive() for model in models}
        return [unique[key] for key in sorted(unique)]

    async def workers(self) -> int:
        return len(self._alive())

    async def dead_letters(self) -> list[Job]:
        return list(self._dead)

    async def ping(self) -> None:
        return None

    async def append(self, lease: Lease, events: Sequence[NewEvent]) -> list[str]:
        check_batch(events)
        digest = batch_digest(lease, events)
        ended = self._live_records().get(lease.job_id)
        if ended is not None and ended.status in ENDED and ended.last_digest == digest:
            return list(ended.last_ids)
        record = self._held(lease)
        if record.last_digest == digest:
            return list(record.last_ids)
        if not events:
            return []
        first = len(record.log) + 1
        ids = [f"{number}-0" for number in range(first, first + len(events))]
        for new in events:
            self._write(record, new)
        record.last_digest, record.last_ids = digest, ids
        self._notify()
        return list(ids)

    def _write(self, record: _Record, new: NewEvent) -> None:
        if isinstance(new.event, PatchEvent | PatchRefined) and new.image is not None:
            record.images[new.event.index, isinstance(new.event, PatchRefined)] = new.image
        if isinstance(new.event, PatchEvent):
            record.patches_done += 1
            record.fruitless = 0
        if end_status(new.event) is None:
            record.log.append(new)
        else:
            self._end(record, new.event)

    async def read(
        self, job_id: str, after: str = LOG_START, limit: int = 256, *, tokens: bool = False
    ) -> list[LoggedEvent]:
        cursor = parse_cursor(after)
        log = self._find(job_id).log
        found = [(number, new) for number, new in enumerate(log, start=1) if (number, 0) > cursor]
        return [LoggedEvent(f"{number}-0", new.event, new.tokens if tokens else None) for number, new in found[:limit]]

    async def wait(self, cursors: Mapping[str, str], wait_s: float, limit: int = 256) -> dict[str, list[LoggedEvent]]:
        watched = {job_id: parse_cursor(cursor) for job_id, cursor in cursors.items()}
        deadline = time.monotonic() + wait_s
        while True:
            records = self._live_records()
            ends = {job_id: (len(records[job_id].log), 0) for job_id in watched.keys() & records.keys()}
            grown = {job_id for job_id, end in ends.items() if end > watched[job_id]}
            left_s = deadline - time.monotonic()
            if grown or left_s <= 0:
                return {job_id: await self.read(job_id, cursors[job_id], limit) for job_id in grown}
            await self._wait_for_change(left_s)

    async def images(self, job_id: str, keys: Sequence[tuple[int, bool]]) -> list[bytes | None]:
        record = self._live_records().get(job_id)
        return [record.images.get(key) if record is not None else None for key in keys]

    async def close(self) -> None:
        return None

    def _live_records(self) -> dict[str, _Record]:
        now = self._clock()
        self._records = {
            job_id: record for job_id, record in self._records.items() if record.expires is None or now < record.expires
        }
        return self._records

    def _find(self, job_id: str) -> _Record:
        record = self._live_records().get(job_id)
        if record is None:
            raise JobNotFound(f"There is no job {job_id}.")
        return record

    def _held(self, lease: Lease) -> _Record:
        record = self._live_records().get(lease.job_id)
        if record is None or (record.worker, record.epoch) != (lease.worker, lease.epoch):
            raise LeaseLost(f"Epoch {lease.epoch} of job {lease.job_id} has passed.")
        return record

    def _alive(self) -> list[tuple[ModelInfo, ...]]:
        now = self._clock()
        self._workers = {name: known for name, known in self._workers.items() if now < known[0]}
        return [models for _, models in self._workers.values()]

    def _change(self, record: _Record, status: JobStatus) -> None:
        assert may_change(record.status, status), (record.status, status)
        if record.status is JobStatus.QUEUED:
            self._waiting.remove(record.job.id)
        record.status = status

    def _end(self, record: _Record, event: JobEvent) -> None:
        status = end_status(event)
        assert status in ENDED
        self._change(record, status)
        record.log.append(NewEvent(event))
        record.end = event
        record.worker = None
        record.ended_at = self._now()
        group = [self._records[name] for name in together(record.job) if name in self._records]
        if all(one.status in ENDED for one in group):
            for one in group:
                one.expires = self._clock() + self._limits.job_ttl_s

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC)

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _wait_for_change(self, at_most_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(at_most_s):
                await self._changed.wait()
