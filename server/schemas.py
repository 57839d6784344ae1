"""The bodies of answers, with examples for the OpenAPI document."""

from datetime import datetime
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

from jobs.job import JobState, JobStatus, ModelInfo
from jobs.request import PROMPT_MAX_CHARS, SIDE_MAX_PX, SamplingParams, Task

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
    "seed": 3141592653,
    "order": "zeta",
    "given": None,
    "model": "tiny",
    "sampling": {"temperature": 1.0, "top_k": 0, "top_p": 0.95, "cfg_scale": 3.0},
    "created_at": "2026-11-23T14:00:00.000000Z",
    "started_at": "2026-11-23T14:00:00.120000Z",
    "ended_at": None,
    "error": None,
    "links": {
        "self": "/jobs/019c1d2a4b07f3a1c29e5d88b6401e7f",
        "events": "/jobs/019c1d2a4b07f3a1c29e5d88b6401e7f/events",
        "result": "/jobs/019c1d2a4b07f3a1c29e5d88b6401e7f/result",
        "cancel": "/jobs/019c1d2a4b07f3a1c29e5d88b6401e7f",
    },
}
_PLAN_EXAMPLE: dict[str, Any] = {
    "task": "image_outpainting",
    "model": "tiny",
    "width": 832,
    "height": 480,
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
    "patch_seconds": 0.26,
    "limits": {
        "max_width": 65536,
        "max_height": 65536,
        "max_pixels": 80000000,
        "max_image_pixels": 16777216,
        "max_prompt_chars": 2000,
    },
}


class Links(BaseModel):
    """Paths of a job. `cancel` is for the method DELETE."""

    self: str
    events: str
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
    seed: int = Field(description="The one asked for, or the one drawn: send it again for the same picture.")
    order: str = Field(description="Never auto: the order that was chosen, or those of the phases, joined by +.")
    given: tuple[int, int, int, int] | None = Field(
        description="Where a given picture lies in the finished one: left, top, right, bottom in pixels."
    )
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
            seed=job.seed,
            order=job.order,
            given=job.given,
            model=job.model,
            sampling=request.sampling,
            created_at=job.created_at,
            started_at=state.started_at,
            ended_at=state.ended_at,
            error=state.error,
            links=Links(self=path, events=f"{path}/events", result=f"{path}/result", cancel=path),
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
    width: int = Field(description="Of the finished picture, in pixels.")
    height: int
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
        description="Patches to draw times the measured time of one, without waiting in the queue."
    )


class Limits(BaseModel):
    """What POST /generate accepts. Any size up to these: what is not a multiple of the patch is cropped."""

    max_width: int = SIDE_MAX_PX
    max_height: int = SIDE_MAX_PX
    max_pixels: int = Field(description="Width times height.")
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


def job_path(job_id: str) -> str:
    return f"/jobs/{job_id}"
