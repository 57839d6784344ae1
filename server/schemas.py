"""The bodies of answers, with examples for the OpenAPI document."""

from datetime import datetime
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

from jobs.events import Fit
from jobs.job import ENDED, JobState, JobStatus, ModelInfo
from jobs.request import FPS_MAX, PROMPT_MAX_CHARS, SIDE_MAX_PX, Area, SamplingParams, Task
from server import groups

_JOB_EXAMPLE: dict[str, Any] = {
    "id": "019c1d2a4b07f3a1c29e5d88b6401e7f",
    "status": "running",
    "queue_position": None,
    "patches_done": 12,
    "patches_total": 32,
    "task": "text_to_image",
    "prompt": "snowy mountains at sunset with a lake",
    "width": 512,
    "height": 256,
    "frames": 1,
    "fps": None,
    "seed": 3141592653,
    "order": "zeta",
    "given": None,
    "repaint": None,
    "job": None,
    "group": None,
    "fit": None,
    "model": "tiny",
    "sampling": {
        "temperature": 1.0,
        "top_k": 0,
        "top_p": 0.98,
        "min_p": 0.0,
        "later_min_p": 0.6,
        "cfg_scale": 4.0,
        "distilled": False,
    },
    "created_at": "2026-11-23T14:00:00.000000Z",
    "started_at": "2026-11-23T14:00:00.120000Z",
    "ended_at": None,
    "error": None,
    "links": {
        "self": "/jobs/019c1d2a4b07f3a1c29e5d88b6401e7f",
        "events": "/jobs/019c1d2a4b07f3a1c29e5d88b6401e7f/events",
        "film": None,
        "given": None,
        "mask": None,
        "result": "/jobs/019c1d2a4b07f3a1c29e5d88b6401e7f/result",
        "cancel": "/jobs/019c1d2a4b07f3a1c29e5d88b6401e7f",
    },
}
_GROUP_EXAMPLE: dict[str, Any] = {
    "id": "019c1d2a4b07f3a1c29e5d88b6401e7f",
    "status": "running",
    "n": 2,
    "ended": 0,
    "patches_done": 12,
    "patches_total": 64,
    "ranked": False,
    "candidates": [_JOB_EXAMPLE],
    "links": {
        "self": "/groups/019c1d2a4b07f3a1c29e5d88b6401e7f",
        "cancel": "/groups/019c1d2a4b07f3a1c29e5d88b6401e7f",
    },
}
_PLAN_EXAMPLE: dict[str, Any] = {
    "task": "image_outpainting",
    "model": "tiny",
    "n": 1,
    "width": 832,
    "height": 480,
    "frames": 1,
    "fps": None,
    "given": [0, 0, 640, 480],
    "order": "omega",
    "grid": {"frames": 1, "rows": 8, "columns": 13, "patch_px": 64, "origin": [0, 0]},
    "phases": [{"order": "omega", "frames": [0, 1], "rows": [0, 8], "columns": [9, 13], "draws": 24, "replays": 8}],
    "patches_total": 104,
    "patches_to_draw": 24,
    "patches_known": 80,
    "rounds": 14,
    "pool_pages": 26,
    "pool_bytes": 3833856,
    "expected_seconds": 6.2,
}
_MODEL_EXAMPLE: dict[str, Any] = {
    "name": "tiny",
    "version": "5f0c9a3be1d27c44",
    "description": "Landscapes in a flat poster style",
    "patch_px": 64,
    "patch_tokens": 8,
    "codebook_size": 1000,
    "extent": [0, 1, 1],
    "orders": ["omega", "omega_star", "zeta", "zeta_star"],
    "parameters": 11000000,
    "licence": "Apache-2.0",
    "slots": 4,
    "pool_pages": 512,
    "page_bytes": 294912,
    "guided_pages": 2,
    "distilled_scale": 5.0,
    "start_seconds": 0.2,
    "patch_seconds": 0.26,
    "limits": {
        "max_width": 65536,
        "max_height": 65536,
        "max_pixels": 80000000,
        "max_frames": 1200,
        "max_fps": 60,
        "max_candidates": 8,
        "max_image_pixels": 16777216,
        "max_prompt_chars": 2000,
    },
}


class Links(BaseModel):
    """Paths of a job. `cancel` is for the method DELETE."""

    self: str
    events: str
    film: str | None = Field(default=None, description="Of films: the stream that grows while they are made.")
    given: str | None = Field(default=None, description="Of jobs that go on from a picture: that picture.")
    mask: str | None = Field(default=None, description="Of jobs with a mask: white where the picture is drawn anew.")
    result: str
    cancel: str


class JobView(BaseModel):
    """A job as it stands now."""

    model_config = ConfigDict(json_schema_extra={"examples": [_JOB_EXAMPLE]})

    id: str
    status: JobStatus
    queue_position: int | None = Field(description="0 is next; null once the job runs or has ended.")
    patches_done: int
    patches_total: int
    task: Task
    prompt: str | None
    width: int
    height: int
    frames: int = Field(description="Of a film; 1 for a picture.")
    fps: int | None = Field(description="Of a film: frames shown in a second.")
    seed: int = Field(description="The one asked for, or the one drawn: send it again for the same picture.")
    order: str = Field(description="Never auto: the order that was chosen, or those of the phases, joined by +.")
    given: tuple[int, int, int, int] | None = Field(
        description="Where a given picture lies in the finished one: left, top, right, bottom in pixels."
    )
    repaint: Area | None = Field(
        description="The part of the given picture that is drawn anew; with a mask, the rectangle around all of it."
    )
    job: str | None = Field(description="The job whose picture is extended.")
    group: str | None = Field(description="The group that the job is a candidate of.")
    fit: Fit | None = Field(description="Of a finished candidate, where its worker can read pictures.")
    model: str
    sampling: SamplingParams
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    error: str | None = Field(description="Why the job failed.")
    links: Links

    @classmethod
    def of(cls, state: JobState) -> Self:
        job, request = state.job, state.job.request
        path = job_path(job.id)
        return cls(
            id=job.id,
            status=state.status,
            queue_position=state.queue_position,
            patches_done=state.patches_done,
            patches_total=state.patches_total,
            task=request.resolved_task,
            prompt=request.prompt,
            width=request.width,
            height=request.height,
            frames=request.frames or 1,
            fps=request.fps,
            seed=job.seed,
            order=job.order,
            given=job.given,
            repaint=request.repaint,
            job=request.job,
            group=None if job.candidate is None else job.candidate.group,
            fit=state.fit,
            model=job.model,
            sampling=request.sampling,
            created_at=job.created_at,
            started_at=state.started_at,
            ended_at=state.ended_at,
            error=state.error,
            links=Links(
                self=path,
                events=f"{path}/events",
                film=f"{path}/film" if job.is_film else None,
                given=f"{path}/given" if job.given is not None else None,
                mask=f"{path}/mask" if job.masked else None,
                result=f"{path}/result",
                cancel=path,
            ),
        )


class GroupLinks(BaseModel):
    """Paths of a group. `cancel` is for the method DELETE."""

    self: str
    cancel: str


class GroupView(BaseModel):
    """Several pictures of one request as they stand now."""

    model_config = ConfigDict(json_schema_extra={"examples": [_GROUP_EXAMPLE]})

    id: str
    status: JobStatus = Field(description="Running until all have ended; then succeeded if any did, else failed.")
    n: int = Field(description="Candidates.")
    ended: int = Field(description="Candidates that have ended.")
    patches_done: int = Field(description="Of all together.")
    patches_total: int
    ranked: bool = Field(description="Whether all have ended, and stand best first; else in the order of their seeds.")
    candidates: list[JobView]
    links: GroupLinks

    @classmethod
    def of(cls, states: list[JobState]) -> Self:
        """states: of all its jobs, in the order of their seeds."""
        candidate = states[0].job.candidate
        assert candidate is not None
        path, is_over = group_path(candidate.group), groups.is_ended(states)
        return cls(
            id=candidate.group,
            status=groups.status(states),
            n=len(states),
            ended=sum(state.status in ENDED for state in states),
            patches_done=sum(state.patches_done for state in states),
            patches_total=sum(state.patches_total for state in states),
            ranked=is_over,
            candidates=[JobView.of(state) for state in (groups.ranked(states) if is_over else states)],
            links=GroupLinks(self=path, cancel=path),
        )


class GridView(BaseModel):
    """The grid that a picture lies on."""

    frames: int
    rows: int
    columns: int
    patch_px: int
    origin: tuple[int, int] = Field(
        description="x and y of the picture's corner on the grid, in pixels; what sticks out of the picture is cropped."
    )


class PhaseView(BaseModel):
    """A part of the grid that is drawn in one order. Ranges are half open: [first, one after the last]."""

    order: str
    frames: tuple[int, int]
    rows: tuple[int, int]
    columns: tuple[int, int]
    draws: int = Field(description="Patches that this phase draws.")
    replays: int = Field(description="Patches that exist before and are only looked at.")


class PlanView(BaseModel):
    """What a request would do and cost. Figures that no worker has announced are null."""

    model_config = ConfigDict(json_schema_extra={"examples": [_PLAN_EXAMPLE]})

    task: Task
    model: str
    n: int = Field(description="Pictures; all figures but expected_seconds are of one.")
    width: int = Field(description="Of the finished picture, in pixels.")
    height: int
    frames: int = Field(description="Of a film; 1 for a picture.")
    fps: int | None
    given: tuple[int, int, int, int] | None
    order: str
    grid: GridView
    phases: list[PhaseView]
    patches_total: int
    patches_to_draw: int
    patches_known: int = Field(description="Patches of which every pixel is given.")
    rounds: int = Field(description="Steps, if all ready patches of a round were drawn at once.")
    pool_pages: int | None = Field(description="Most pages of the context pool that the job holds at once.")
    pool_bytes: int | None
    expected_seconds: float | None = Field(
        description="Patches to draw, of all n pictures, times the measured time of one, without waiting in the queue."
    )


class Limits(BaseModel):
    """What POST /generate accepts. Any size up to these: what is not a multiple of the patch is cropped."""

    max_width: int = SIDE_MAX_PX
    max_height: int = SIDE_MAX_PX
    max_pixels: int = Field(description="Width times height, of a film times frames.")
    max_frames: int = Field(description="Of a film.")
    max_fps: int = FPS_MAX
    max_candidates: int = Field(description="Pictures of one request (n).")
    max_image_pixels: int = Field(description="Width times height of a given picture.")
    max_prompt_chars: int = PROMPT_MAX_CHARS


class ModelView(ModelInfo):
    """A model that workers serve, and its limits here."""

    model_config = ConfigDict(json_schema_extra={"examples": [_MODEL_EXAMPLE]})

    limits: Limits


class ModelsView(BaseModel):
    models: list[ModelView]
    default: str | None = Field(description="What a request without `model` gets; null while no worker has been seen.")


class Alive(BaseModel):
    status: str = Field(default="alive", examples=["alive"])


class Ready(BaseModel):
    status: str = Field(default="ready", examples=["ready"])
    workers: int = Field(examples=[1])
    queue_depth: int = Field(examples=[0])


def group_path(group: str) -> str:
    return f"/groups/{group}"


def job_path(job_id: str) -> str:
    return f"/jobs/{job_id}"
