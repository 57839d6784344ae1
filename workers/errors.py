"""Errors that end one job, with the code and message that its JobFailed event carries.

    NuwaError
     +- PoolTooSmall     the job needs more pages than the whole pool has: it can never run here
     +- ModelChanged     the job was begun with other weights than this worker has
     +- GivenGone        the picture that the caller gave is no longer in the store
     +- EngineFailed     the engine raised on this job twice, the second time with nothing else in its batch

Besides these, a job may fail with UnknownModel (jobs/errors.py), and with code "internal" for what nobody foresaw.
"""

# ruff: noqa: N818 - as in jobs/errors.py

import logging

from jobs.errors import NuwaError
from jobs.events import JobFailed

log = logging.getLogger("nuwa.worker")


class PoolTooSmall(NuwaError):
    """The job needs more pages than the whole pool has: it can never run here."""

    code = "pool_too_small"


class ModelChanged(NuwaError):
    """The job was begun with other weights: going on with these would give a picture that no seed stands for."""

    code = "model_changed"


class GivenGone(NuwaError):
    """The picture that the caller gave is no longer in the store: pictures are kept for the jobs' time to live."""

    code = "given_gone"


class EngineFailed(NuwaError):
    """The engine raised on this job twice, the second time with nothing else in its batch."""

    code = "engine_error"

    @classmethod
    def because(cls, error: Exception) -> "EngineFailed":
        return cls(f"the engine failed on this job: {type(error).__name__}: {error}")


def failure(job_id: str, error: Exception) -> JobFailed:
    """What the job's log says of an error. Only those of our own tree speak for themselves."""
    if isinstance(error, NuwaError):
        log.warning("job %s fails: %s: %s", job_id, error.code, error)
        return JobFailed(code=error.code, message=str(error))
    log.error("job %s fails", job_id, exc_info=error)
    return JobFailed(code=NuwaError.code, message=f"the worker met an unexpected {type(error).__name__}")
