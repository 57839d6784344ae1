"""The broker on Redis 6.2 or newer (or Valkey): the queue and the event logs are streams, changes are Lua scripts.

What stands where: keys.py. What a change does: scripts.py. One object serves one event loop; it connects when first
used, and again whenever it must.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, cast

from pydantic import TypeAdapter, ValidationError
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.commands.core import AsyncScript
from redis.exceptions import AuthenticationError, OutOfMemoryError, ReadOnlyError, RedisError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from jobs.broker import keys as key
from jobs.broker import scripts
from jobs.broker.base import DEAD_LETTERS_MAX, LOG_START, BrokerLimits, Lease, LoggedEvent, NewEvent
from jobs.broker.rules import (
    KEY_REUSED,
    batch_digest,
    check_batch,
    check_count,
    end_status,
    error_of,
    fit_of,
    parse_cursor,
    too_many_deliveries,
)
from jobs.errors import BrokerUnavailable, IdempotencyKeyReused, JobNotFound, LeaseLost, QueueFull
from jobs.events import JobCanceled, JobQueued, PatchEvent, PatchRefined, decode_event, encode_event
from jobs.job import Job, JobState, JobStatus, ModelInfo

_logger = logging.getLogger(__name__)

_BLOCK_MS = 2000  # longest single blocking read
_CLAIM_EVERY_MS = 1000  # a waiting take() looks this often for leases that have run out
_ANSWER_S = 10.0  # a Redis that says nothing for so long is gone; must exceed _BLOCK_MS
_CONNECT_S = 2.0
_CONNECTIONS = 100
_GIVE_UP_MS = 10**9  # longer than any lease

_models_codec: TypeAdapter[list[ModelInfo]] = TypeAdapter(list[ModelInfo])
_Entry = tuple[bytes, dict[bytes, bytes]]  # of a stream: id and fields
_ABSENT = (RedisConnectionError, RedisTimeoutError, ReadOnlyError, OutOfMemoryError, OSError)
_REFUSALS = ("LOADING", "MISCONF", "MASTERDOWN", "NOREPLICAS", "OOM")  # Redis is there but cannot serve now


class RedisBroker:
    """Keeps the promises of jobs.broker.base.Broker for any number of processes.

    url: redis://, rediss:// or unix://. Every method may raise BrokerUnavailable, and all are safe to repeat after it.
    """

    def __init__(self, url: str, limits: BrokerLimits | None = None) -> None:
        self._limits = limits or BrokerLimits()
        self._lease_ms = round(self._limits.lease_s * 1000)
        self._ttl_ms = round(self._limits.job_ttl_s * 1000)
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=_CONNECTIONS,
            timeout=_ANSWER_S,
            socket_timeout=None,  # _answered() watches the time: redis-py would use wait_for, which loses cancellations
            socket_connect_timeout=_CONNECT_S,
            retry=Retry(NoBackoff(), 1),  # the first use of a connection that died with the last Redis
            protocol=2,
        )
        self._redis: Redis = Redis.from_pool(pool)
        self._scripts: dict[str, AsyncScript] = {}

    async def submit(self, job: Job, total: int) -> None:
        await self.submit_all([(job, total)])

    async def submit_all(self, jobs: Sequence[tuple[Job, int]]) -> None:
        arguments = [part for job, total in jobs for part in (job.id, job.model_dump_json(), total)]
        await self._run(scripts.SUBMIT, encode_event(JobQueued()), self._limits.queue_max, *arguments)

    async def claimed(self, name: str) -> str | None:
        async with _answered():
            holder = await cast(Awaitable[bytes | None], self._redis.get(key.claim(name)))
        return None if holder is None else holder.decode()

    async def state(self, job_id: str) -> JobState:
        flat, position = await self._run(scripts.STATE, job_id)
        fields = {flat[i].decode(): flat[i + 1] for i in range(0, len(flat), 2)}
        end = decode_event(fields["end"]) if "end" in fields else None
        return JobState(
            job=Job.model_validate_json(fields["job"]),
            status=JobStatus(fields["status"].decode()),
            patches_done=int(fields["done"]),
            patches_total=int(fields["total"]),
            queue_position=None if position < 0 else position,
            deliveries=int(fields["deliveries"]),
            error=error_of(end),
            fit=fit_of(end),
            started_at=_as_time(fields.get("started")),
            ended_at=_as_time(fields.get("ended")),
        )

    async def depth(self) -> int:
        return int(await self._run(scripts.DEPTH))

    async def take(self, worker: str, count: int, wait_s: float) -> list[tuple[Lease, Job]]:
        check_count(count)
        failed = too_many_deliveries(self._limits)
        arguments = (self._lease_ms, self._limits.max_deliveries, self._ttl_ms, encode_event(failed))
        canceled = encode_event(JobCanceled(done=0))
        deadline = time.monotonic() + wait_s
        while True:
            newest, entries = await self._run(scripts.TAKE, worker, count, *arguments, canceled)
            taken = [lease_and_job for entry in entries if (lease_and_job := _taken(worker, entry)) is not None]
            left_ms = int((deadline - time.monotonic()) * 1000)
            if taken or left_ms <= 0:
                return taken
            await self._read_streams({key.QUEUE: newest.decode()}, min(left_ms, _CLAIM_EVERY_MS), 1)

    async def renew(self, lease: Lease) -> None:
        await self._run(scripts.RENEW, lease.job_id, lease.worker, lease.epoch, 0)

    async def release(self, lease: Lease) -> None:
        await self._run(scripts.RENEW, lease.job_id, lease.worker, lease.epoch, _GIVE_UP_MS)

    async def cancel(self, job_id: str) -> JobState:
        await self._run(scripts.CANCEL, job_id, self._lease_ms, self._ttl_ms, encode_event(JobCanceled(done=0)))
        return await self.state(job_id)

    async def cancel_requested(self, lease: Lease) -> bool:
        return bool(await self._run(scripts.CANCEL_REQUESTED, lease.job_id, lease.worker, lease.epoch))

    async def announce(self, worker: str, models: Sequence[ModelInfo], ttl_s: float) -> None:
        await self._run(scripts.ANNOUNCE, worker, _models_codec.dump_json(list(models)), round(ttl_s * 1000))

    async def models(self) -> list[ModelInfo]:
        served = [model for one in await self._run(scripts.ALIVE) for model in _models_codec.validate_json(one)]
        unique = {(model.name, model.version): model for model in served}
        return [unique[key] for key in sorted(unique)]

    async def workers(self) -> int:
        return len(await self._run(scripts.ALIVE))

    async def dead_letters(self) -> list[Job]:
        async with _answered():
            entries = cast(Any, await self._redis.xrange(key.DEAD, count=DEAD_LETTERS_MAX))
        return [Job.model_validate_json(fields[b"job"]) for _, fields in entries]

    async def ping(self) -> None:
        async with _answered():
            await self._redis.ping()

    async def append(self, lease: Lease, events: Sequence[NewEvent]) -> list[str]:
        check_batch(events)
        last = events[-1].event if events else None
        status = end_status(last) if last is not None else None
        arguments: list[str | bytes] = [part for new in events for part in _append_arguments(new)]
        ids = await self._run(
            scripts.APPEND,
            lease.job_id,
            lease.worker,
            lease.epoch,
            batch_digest(lease, events),
            self._ttl_ms,
            status or "",
            *arguments,
        )
        return [entry_id.decode() for entry_id in ids]

    async def read(
        self, job_id: str, after: str = LOG_START, limit: int = 256, *, tokens: bool = False
    ) -> list[LoggedEvent]:
        cursor = "({}-{}".format(*parse_cursor(after))
        async with _answered(), self._redis.pipeline(transaction=True) as pipeline:
            pipeline.exists(key.job(job_id))
            pipeline.xrange(key.log(job_id), min=cursor, count=limit)
            exists, entries = await pipeline.execute()
        if not exists:
            raise JobNotFound(f"There is no job {job_id}.")
        return _logged(entries, tokens)

    async def wait(self, cursors: Mapping[str, str], wait_s: float, limit: int = 256) -> dict[str, list[LoggedEvent]]:
        by_log = {key.log(job_id): job_id for job_id in cursors}
        streams = {key.log(job_id): "{}-{}".format(*parse_cursor(cursor)) for job_id, cursor in cursors.items()}
        deadline = time.monotonic() + wait_s
        while True:
            left_ms = max(1, int((deadline - time.monotonic()) * 1000))  # BLOCK 0 would wait for ever
            grown = await self._read_streams(streams, min(left_ms, _BLOCK_MS), limit)
            if grown or time.monotonic() >= deadline:
                return {by_log[name]: _logged(entries) for name, entries in grown.items()}

    async def images(self, job_id: str, keys: Sequence[tuple[int, bool]]) -> list[bytes | None]:
        if not keys:
            return []
        fields = [key.image_field(index, refined) for index, refined in keys]
        async with _answered():
            found = await cast(Awaitable[list[bytes | None]], self._redis.hmget(key.images(job_id), fields))
        return list(found)

    async def close(self) -> None:
        await self._redis.aclose(close_connection_pool=True)

    async def _run(self, script: str, *arguments: str | bytes | float) -> Any:
        """Runs by hash; a server that does not know the script (any more) is sent its text."""
        if script not in self._scripts:
            self._scripts[script] = self._redis.register_script(scripts.PRELUDE + script)
        async with _answered():
            return await self._scripts[script](args=arguments)

    async def _read_streams(self, streams: Mapping[str, str], block_ms: int, limit: int) -> dict[str, list[_Entry]]:
        """Entries beyond the id given, by stream, as soon as there is one; empty when time is up."""
        if not streams:
            await asyncio.sleep(block_ms / 1000)
            return {}
        async with _answered():
            grown = await self._redis.xread(cast(Any, streams), count=limit, block=block_ms)
        return {cast(bytes, name).decode(): entries for name, entries in cast(Any, grown) or ()}


@asynccontextmanager
async def _answered() -> AsyncIterator[None]:
    """Limits the time of a command; turns errors of Redis and of the scripts into this project's."""
    try:
        async with asyncio.timeout(_ANSWER_S):
            yield
    except _ABSENT as error:
        if isinstance(error.__cause__, AuthenticationError):
            raise BrokerUnavailable("Redis does not let us in: see user and password in REDIS_URL.") from error
        raise BrokerUnavailable("Redis does not answer.") from error
    except ResponseError as error:
        word = str(error).split(" ", 1)[0]
        if word == "NOJOB":
            raise JobNotFound("There is no such job, or its time to live has passed.") from None
        if word == "LEASELOST":
            raise LeaseLost("Another worker has the job, or it has ended.") from None
        if word == "QUEUEFULL":
            raise QueueFull("As many jobs are waiting as may wait; try again later.") from None
        if word == "KEYREUSED":
            raise IdempotencyKeyReused(KEY_REUSED) from None
        if word in _REFUSALS:
            raise BrokerUnavailable("Redis cannot serve now.") from error
        raise
    except RedisError as error:
        raise BrokerUnavailable("Redis answered in an unexpected way.") from error


def _logged(entries: Sequence[_Entry], tokens: bool = False) -> list[LoggedEvent]:
    return [
        LoggedEvent(entry_id.decode(), decode_event(fields[b"e"]), fields.get(b"t") if tokens else None)
        for entry_id, fields in entries
    ]


def _taken(worker: str, entry: list[Any]) -> tuple[Lease, Job] | None:
    """None for a job that this version cannot read: its lease runs out, and a newer worker may get it."""
    job_id, epoch, delivery, data = entry
    try:
        return Lease(job_id.decode(), worker, epoch, delivery), Job.model_validate_json(data)
    except ValidationError:
        _logger.exception("job %s cannot be read by this version; left to other workers", job_id.decode())
        return None


def _append_arguments(new: NewEvent) -> tuple[str | bytes, ...]:
    """The six arguments of one event for scripts.APPEND."""
    field = ""
    if isinstance(new.event, PatchEvent | PatchRefined) and new.image is not None:
        field = key.image_field(new.event.index, isinstance(new.event, PatchRefined))
    return (
        encode_event(new.event),
        "1" if isinstance(new.event, PatchEvent) else "",
        "1" if new.tokens is not None else "",
        new.tokens or b"",
        field,
        new.image or b"",
    )


def _as_time(milliseconds: bytes | None) -> datetime | None:
    return None if milliseconds is None else datetime.fromtimestamp(int(milliseconds) / 1000, UTC)
