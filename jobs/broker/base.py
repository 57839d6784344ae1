"""What every broker promises: a queue of jobs under leases, and one event log per job.

Two implementations keep the promise and pass the same tests: broker/redis.py (the real one) and broker/memory.py
(the same behaviour inside one process, for tests). Everything is asynchronous; image and token bytes pass through as
they are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from jobs.events import JobEvent
from jobs.job import Job, JobState, ModelInfo

LOG_START = "0"  # the cursor before a log's first entry
DEAD_LETTERS_MAX = 1000


@dataclass(frozen=True)
class BrokerLimits:
    """The rules that every process on one broker must agree on; jobs/settings.py reads them from the environment."""

    lease_s: float = 15.0  # an unrenewed lease passes to another worker after this time
    max_deliveries: int = 5  # takes in a row without one new patch; then the job fails for good
    job_ttl_s: float = 86_400.0  # how long an ended job, its log and its images are kept; of a group after its last end
    queue_max: int = 1000  # waiting jobs


@dataclass(frozen=True)
class Lease:
    """A worker's timed claim on a job. Every write carries `epoch`; a stale one is refused with LeaseLost."""

    job_id: str
    worker: str
    epoch: int
    delivery: int  # how often the job has been taken, this time included


@dataclass(frozen=True)
class NewEvent:
    """An event to append, with a patch's image (WebP) and its tokens (2 bytes each, little endian)."""

    event: JobEvent
    image: bytes | None = None
    tokens: bytes | None = None


@dataclass(frozen=True)
class LoggedEvent:
    """An event as it stands in the log. `tokens` is filled only where asked for; images are fetched by patch index."""

    id: str
    event: JobEvent
    tokens: bytes | None = field(default=None, repr=False)


class JobQueue(Protocol):
    """Jobs waiting for a worker, and who holds which."""

    async def submit(self, job: Job, total: int) -> None:
        """Accept a job: its state, its JobQueued event and its place in the queue appear together or not at all.

        total: patches of its grid. Safe to repeat: a job that is already there stays as it is.
        Raises QueueFull, BrokerUnavailable.
        """

    async def submit_all(self, jobs: Sequence[tuple[Job, int]]) -> None:
        """Accept the jobs of one request with their totals, in this order, as submit() does: all of them, or none.

        Where the first has a claim, it holds it from now on. Raises IdempotencyKeyReused while another job does.
        """

    async def claimed(self, name: str) -> str | None:
        """The id of the first job of the request that holds this claim: as long as its jobs are kept."""

    async def state(self, job_id: str) -> JobState:
        """Raises JobNotFound."""

    async def depth(self) -> int:
        """Jobs that wait for a worker."""

    async def take(self, worker: str, count: int, wait_s: float) -> list[tuple[Lease, Job]]:
        """Take up to `count` jobs, abandoned ones (lease run out) first; wait up to `wait_s` for the first.

        A job taken `max_deliveries` times in a row without one new patch fails for good instead (JobFailed, dead
        letter) and is not returned; a canceled one is dropped. A worker that let a lease run out may be given its own
        job again, under a new epoch. Raises ValueError when count < 1.
        """

    async def renew(self, lease: Lease) -> None:
        """Keep a lease for another lease time. Raises LeaseLost."""

    async def release(self, lease: Lease) -> None:
        """Give a job back unfinished, for any worker to take at once; its status stays running. Raises LeaseLost."""

    async def cancel(self, job_id: str) -> JobState:
        """Cancel, idempotently; the state afterwards. Raises JobNotFound.

        A queued job ends at once, and so does one whose worker was lost; a running one before its next patch.
        """

    async def cancel_requested(self, lease: Lease) -> bool:
        """Whether the holder of this lease should stop. Raises LeaseLost."""

    async def announce(self, worker: str, models: Sequence[ModelInfo], ttl_s: float) -> None:
        """A worker says that it is alive and what it serves; forgotten after `ttl_s` (0: at once, a goodbye)."""

    async def models(self) -> list[ModelInfo]:
        """What the workers alive now serve, without repeats, sorted by name."""

    async def workers(self) -> int:
        """Workers alive now."""

    async def dead_letters(self) -> list[Job]:
        """Jobs that failed for good after too many deliveries, oldest first, at most DEAD_LETTERS_MAX of the newest."""

    async def ping(self) -> None:
        """Raises BrokerUnavailable."""


class EventLog(Protocol):
    """One append-only log per job."""

    async def append(self, lease: Lease, events: Sequence[NewEvent]) -> list[str]:
        """Append all or nothing, in order; a terminal event also ends the job, its lease and its place in the queue.

        Returns the entry ids. Safe to repeat after BrokerUnavailable: the same call twice in a row appends once and
        returns the same ids. Raises LeaseLost when the epoch is stale or the log has ended; ValueError when anything
        follows a terminal event.
        """

    async def read(
        self, job_id: str, after: str = LOG_START, limit: int = 256, *, tokens: bool = False
    ) -> list[LoggedEvent]:
        """Events after a cursor, oldest first, without waiting. Raises JobNotFound, ValueError (malformed cursor)."""

    async def wait(self, cursors: Mapping[str, str], wait_s: float, limit: int = 256) -> dict[str, list[LoggedEvent]]:
        """Wait until any of these jobs' logs grows beyond its cursor; the events there, oldest first, at most `limit`
        of a job, of those that did (empty: time is up).

        One blocking read on one connection, however many jobs are watched. Raises ValueError (malformed cursor).
        """

    async def images(self, job_id: str, keys: Sequence[tuple[int, bool]]) -> list[bytes | None]:
        """WebP bytes by (patch index, refined), None where there is none (yet, or any more)."""


class Broker(JobQueue, EventLog, Protocol):
    """Both, on one connection."""

    async def close(self) -> None: ...
