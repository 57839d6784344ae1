"""A job: one request on its way to a picture, its status and the changes a status may make."""

from datetime import datetime
from enum import StrEnum
from typing import Literal

from pydantic import Field

from jobs.request import Frozen, GenerateRequest


class JobStatus(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"


ENDED = frozenset({JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELED})

# A job never leaves an ended status; a running job whose worker died stays running until another takes it over.
ALLOWED_CHANGES: dict[JobStatus, frozenset[JobStatus]] = {
    JobStatus.QUEUED: frozenset({JobStatus.RUNNING, JobStatus.FAILED, JobStatus.CANCELED}),
    JobStatus.RUNNING: ENDED | {JobStatus.RUNNING},
    JobStatus.SUCCEEDED: frozenset(),
    JobStatus.FAILED: frozenset(),
    JobStatus.CANCELED: frozenset(),
}


class ModelInfo(Frozen):
    """What a worker says of the model it serves; the gateway plans with it and shows it under GET /models."""

    name: str
    version: str = Field(description="Hash of the weights: equal versions give equal bytes for equal requests.")
    description: str
    patch_px: int = Field(gt=0, description="Pixels along one side of a patch.")
    patch_tokens: int = Field(gt=0, description="Tokens along one side of a patch (m).")
    codebook_size: int = Field(gt=0)
    extent: tuple[int, int, int] = Field(description="How far a patch looks: frames, rows, columns.")
    orders: tuple[str, ...] = Field(description="Orders the model was trained on.")
    parameters: int = Field(description="Trained parameters, all parts together.")
    licence: str


class Job(Frozen):
    """A request with everything fixed that would otherwise be chosen later: its seed, order and grid."""

    version: Literal[1] = 1
    id: str
    request: GenerateRequest
    seed: int
    order: str = Field(description="One of the model's orders, never 'auto'.")
    model: str
    patch_px: int
    created_at: datetime


class JobState(Frozen):
    """Where a job stands now, as the broker knows it."""

    job: Job
    status: JobStatus
    patches_done: int = 0
    patches_total: int
    queue_position: int | None = Field(default=None, description="0 is next; null once the job runs or has ended.")
    deliveries: int = Field(default=0, description="How often a worker has taken the job.")
    error: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
