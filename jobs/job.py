"""A job: one request on its way to a picture, its status and the changes a status may make."""

from datetime import datetime
from enum import StrEnum
from functools import cached_property
from typing import Literal

from pydantic import Field

from canvas.controller import Layout, lay_out, plan_task
from canvas.grid import Box, Extent
from canvas.plan import Plan
from jobs.events import Fit
from jobs.request import CANDIDATES_MAX, FILM_TASKS, Frozen, GenerateRequest


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
    slots: int | None = Field(default=None, description="Patches that a worker draws together.")
    pool_pages: int | None = Field(default=None, description="Pages of a worker's context pool.")
    page_bytes: int | None = Field(default=None, description="Size of a page: of the states of one patch.")
    guided_pages: int = Field(
        default=1,
        description="Pages that a patch of a picture, or of a film's first frame, takes with classifier-free guidance.",
    )
    distilled_scale: float = Field(
        default=1.0, description="Largest cfg_scale that sampling.distilled can draw with; 1: none, it was not learned."
    )
    start_seconds: float | None = Field(
        default=None,
        description="Measured time until a job's first patch is begun: the prompt is read, a sketch drawn.",
    )
    patch_seconds: float | None = Field(default=None, description="Measured time for a patch, a moving average.")


class Candidate(Frozen):
    """Which of several pictures of one request a job draws. Its id is the group's and its place in it: {group}-0."""

    group: str
    place: int = Field(ge=0)
    n: int = Field(ge=2, le=CANDIDATES_MAX, description="Candidates of the group.")


def candidate_id(group: str, place: int) -> str:
    return f"{group}-{place}"


def together(job: "Job") -> list[str]:
    """The ids of the jobs that are kept together: its own, or all candidates of its group."""
    if job.candidate is None:
        return [job.id]
    return [candidate_id(job.candidate.group, place) for place in range(job.candidate.n)]


class Job(Frozen):
    """A request with everything fixed that would otherwise be chosen later: its seed, order and grid.

    Where a picture is given, `request` holds the finished picture's width and height and what is added on each side,
    and the picture itself lies in the store (jobs/store.py).
    """

    version: Literal[1] = 1
    id: str
    request: GenerateRequest
    seed: int
    order: str = Field(description="Of the model's orders, never 'auto'; those of several phases are joined by +.")
    model: str
    patch_px: int
    created_at: datetime
    given: tuple[int, int, int, int] | None = Field(
        default=None,
        description="Where a given picture lies: left, top, right, bottom in pixels of the finished one (of a film: of "
        "its first frame).",
    )
    masked: bool = Field(
        default=False,
        description="Whether a mask lies in the store: of `repaint`, only its white pixels are drawn anew.",
    )
    spared: tuple[int, ...] = Field(default=(), description="By index, patches in `repaint` without a white pixel.")
    candidate: Candidate | None = None
    claim: str | None = Field(
        default=None, description="What an Idempotency-Key that came with the request stands for."
    )
    digest: str | None = Field(default=None, description="Of the whole request, where such a key came with it.")

    @cached_property
    def layout(self) -> Layout:
        """How the picture lies on its grid."""
        return layout_of(self.request, self.patch_px, self.given, self.spared)

    def plan(self, extent: Extent) -> Plan:
        """Its phases. Raises ValueError when `order` does not fit them."""
        return plan_task(self.layout, extent, self.order.split("+"))

    @property
    def is_film(self) -> bool:
        """Whether its result is a film, be it of one frame."""
        return self.request.resolved_task in FILM_TASKS

    @property
    def total(self) -> int:
        """Patches of its grid, given ones among them."""
        return len(self.layout.grid)


def layout_of(
    request: GenerateRequest,
    patch_px: int,
    given: tuple[int, int, int, int] | None,
    spared: tuple[int, ...] = (),
) -> Layout:
    """The layout that a request asks for once its width and height are those of the finished picture."""
    box = None if given is None else Box(*given)
    hole = None
    if request.repaint is not None:
        area = request.repaint
        hole = Box(area.left, area.top, area.left + area.width, area.top + area.height)
    return lay_out(request.width, request.height, patch_px, box, hole, request.frames or 1, spared)


class JobState(Frozen):
    """Where a job stands now, as the broker knows it."""

    job: Job
    status: JobStatus
    patches_done: int = 0
    patches_total: int
    queue_position: int | None = Field(default=None, description="0 is next; null once the job runs or has ended.")
    deliveries: int = Field(default=0, description="How often a worker has taken the job.")
    error: str | None = None
    fit: Fit | None = Field(default=None, description="Of a candidate, once it is finished.")
    started_at: datetime | None = None
    ended_at: datetime | None = None
