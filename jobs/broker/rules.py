"""Rules that hold for every broker, whatever it stores jobs in: cursors, what may be appended, how jobs end."""

import hashlib
import re
from collections.abc import Sequence

from jobs.broker.base import BrokerLimits, Lease, NewEvent
from jobs.events import TERMINAL, Fit, JobCanceled, JobEvent, JobFailed, JobFinished, encode_event
from jobs.job import ALLOWED_CHANGES, JobStatus

KEY_REUSED = "This Idempotency-Key came with another request before; take a new one."
_CURSOR = re.compile(r"[0-9]{1,20}(-[0-9]{1,20})?")
_ID_PART_END = 2**64 - 1  # Redis counts both halves of an entry id in 64 bits


def parse_cursor(cursor: str) -> tuple[int, int]:
    """An entry id as two numbers that compare in log order. Raises ValueError for anything that is no entry id."""
    if _CURSOR.fullmatch(cursor) is None:
        raise ValueError("a cursor is an event id such as 1700000000000-0")
    milliseconds, _, sequence = cursor.partition("-")
    parsed = int(milliseconds), int(sequence or 0)
    if max(parsed) >= _ID_PART_END:
        raise ValueError("a cursor's numbers have at most 64 bits")
    return parsed


def check_count(count: int) -> None:
    """Raises ValueError unless a worker asks for at least one job."""
    if count < 1:
        raise ValueError("take at least one job")


def check_batch(events: Sequence[NewEvent]) -> None:
    """Raises ValueError unless a terminal event, if there is one, comes last."""
    if any(isinstance(new.event, TERMINAL) for new in events[:-1]):
        raise ValueError("nothing may follow a terminal event")


def batch_digest(lease: Lease, events: Sequence[NewEvent]) -> str:
    """Tells a repeated append from a new one: an epoch has one writer, and none has reason to say the same twice."""
    digest = hashlib.sha256(f"{lease.job_id} {lease.worker} {lease.epoch}".encode())
    for new in events:
        digest.update(b"\0" + encode_event(new.event))
    return digest.hexdigest()


def end_status(event: JobEvent) -> JobStatus | None:
    """The status that an event ends its job with; None when it does not end it."""
    match event:
        case JobFinished():
            return JobStatus.SUCCEEDED
        case JobFailed():
            return JobStatus.FAILED
        case JobCanceled():
            return JobStatus.CANCELED
        case _:
            return None


def error_of(end: JobEvent | None) -> str | None:
    """Why a job with this last event failed, if it did."""
    return end.message if isinstance(end, JobFailed) else None


def fit_of(end: JobEvent | None) -> Fit | None:
    """How a job with this last event fits its prompt, if that was read."""
    return end.fit if isinstance(end, JobFinished) else None


def may_change(old: JobStatus, new: JobStatus) -> bool:
    return new in ALLOWED_CHANGES[old]


def too_many_deliveries(limits: BrokerLimits) -> JobFailed:
    times = limits.max_deliveries
    return JobFailed(
        code="too_many_deliveries",
        message=f"Workers took this job {times} times in a row and were lost or gave it back without one new patch.",
    )
