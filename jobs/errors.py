"""Every error that crosses between processes, as one tree.

    NuwaError                   everything below; carries a stable `code`
     +- JobNotFound             no job has this id, or its time to live has passed
     +- LeaseLost               another worker holds the job now; whatever this worker made of it is refused
     +- QueueFull               the queue holds as many jobs as it may; try again later
     +- IdempotencyKeyReused    the key came with another request before
     +- BrokerUnavailable       Redis does not answer; nothing is lost, try again later
     +- UnknownModel            no worker serves a model of this name
     +- InvalidSettings         an environment variable or option has a value that cannot be used
     +- EmbeddedRedisError      the Redis of `nuwa serve` cannot be started; the message says what to do

The gateway turns them into HTTP answers in server/errors.py, the only place with status codes.
"""

# ruff: noqa: N818 - JobNotFound says what happened; an Error at the end would add nothing


class NuwaError(Exception):
    """Base of all errors of this project. `code` is stable and meant for programs, the message for people."""

    code = "internal"


class JobNotFound(NuwaError):
    """No job has this id, or its time to live has passed."""

    code = "job_not_found"


class LeaseLost(NuwaError):
    """A worker tried to write into a job whose lease has passed to another worker (a stale epoch)."""

    code = "lease_lost"


class QueueFull(NuwaError):
    """As many jobs wait as the settings allow. `retry_after_s` is a guess at when there will be room."""

    code = "queue_full"

    def __init__(self, message: str, retry_after_s: int = 10) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class IdempotencyKeyReused(NuwaError):
    """The key came with another request before."""

    code = "idempotency_key_reused"


class BrokerUnavailable(NuwaError):
    """Redis does not answer. Accepted jobs are safe in its append-only file; callers retry."""

    code = "broker_unavailable"


class UnknownModel(NuwaError):
    """No worker serves a model of this name."""

    code = "unknown_model"


class InvalidSettings(NuwaError):
    """An environment variable or option has a value that cannot be used. Stops the start."""

    code = "invalid_settings"


class EmbeddedRedisError(NuwaError):
    """The Redis of `nuwa serve` cannot be started. The message says what to do."""

    code = "embedded_redis"
