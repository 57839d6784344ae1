"""LeasedJob: one job while this worker holds its lease, what its log says was done before, and its next events."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from canvas.grid import Extent, Grid, Patch
from canvas.order import order_named
from canvas.plan import Plan, compile_plan
from jobs.broker.base import LOG_START, Broker, Lease, NewEvent
from jobs.errors import UnknownModel
from jobs.events import JobResumed, JobStarted, PatchEvent, PatchRefined
from jobs.job import Job, ModelInfo
from workers.engine import Pixels
from workers.errors import ModelChanged
from workers.images import Picture, encode_webp
from workers.scheduler import Outcome, PatchBatch


@dataclass(eq=False)
class LeasedJob:
    """A job under our lease. `canceled` and `lost` are set by whoever learns of it and acted upon between batches."""

    lease: Lease
    job: Job
    plan: Plan
    picture: Picture
    taken_at: datetime  # by the first worker that ever took it
    started: JobStarted | None = None  # as an earlier worker logged it
    tokens: dict[Patch, bytes] = field(default_factory=dict)  # of the patches done by earlier workers
    refined: set[Patch] = field(default_factory=set)  # patches whose final pixels are in the log
    patches_done: int = 0
    replay: Iterator[tuple[PatchBatch, Outcome]] | None = None
    is_complete: bool = False  # every patch is final; only the result is left to store
    canceled: bool = False
    lost: bool = False

    @property
    def id(self) -> str:
        return self.job.id

    def opening(self, model: ModelInfo) -> NewEvent:
        """The first event of this lease: JobStarted, or JobResumed when an earlier worker logged that already."""
        if self.started is not None:
            return NewEvent(JobResumed(done=self.patches_done))
        return NewEvent(_job_started(self.job, self.plan, model))

    def patch_event(self, patch: Patch, pixels: Pixels, tokens: bytes, done: int) -> NewEvent:
        """A patch that was just drawn, as the done-th of its job."""
        grid = self.plan.grid
        image = encode_webp(self.picture.crop(patch, pixels))
        event = PatchEvent(
            index=grid.index(patch),
            frame=patch.frame,
            row=patch.row,
            column=patch.column,
            box=self.picture.box(patch),
            done=done,
            total=len(grid),
            sha256=hashlib.sha256(image).hexdigest(),
        )
        return NewEvent(event, image, tokens)

    def refined_event(self, patch: Patch, pixels: Pixels) -> NewEvent:
        """The final pixels of a patch; they also become part of the picture."""
        cropped = self.picture.crop(patch, pixels)
        self.picture.place(patch, cropped)
        image = encode_webp(cropped)
        event = PatchRefined(
            index=self.plan.grid.index(patch),
            frame=patch.frame,
            row=patch.row,
            column=patch.column,
            box=self.picture.box(patch),
            sha256=hashlib.sha256(image).hexdigest(),
        )
        return NewEvent(event, image)


async def open_leased(broker: Broker, lease: Lease, job: Job, model: ModelInfo) -> LeasedJob:
    """Lay out the canvas and read what the log says of it.

    Raises JobNotFound, BrokerUnavailable; UnknownModel or ModelChanged when the loaded model is not the job's.
    """
    if (job.model, job.patch_px) != (model.name, model.patch_px):
        raise UnknownModel(f"this worker serves {model.name!r}, the job asks for {job.model!r}")
    width, height = job.request.width, job.request.height
    grid = Grid.from_pixels(width, height, job.patch_px)
    plan = compile_plan(grid, order_named(job.order), Extent(*model.extent))
    state = await broker.state(job.id)
    leased = LeasedJob(lease, job, plan, Picture(width, height, grid), state.started_at or datetime.now(UTC))
    await _read_log(broker, leased)
    if leased.started is not None and leased.started.model_version != model.version:
        raise ModelChanged(f"begun with version {leased.started.model_version}, this worker has {model.version}")
    return leased


async def _read_log(broker: Broker, leased: LeasedJob) -> None:
    cursor = LOG_START
    while page := await broker.read(leased.id, cursor, tokens=True):
        for logged in page:
            match logged.event:
                case JobStarted():
                    leased.started = logged.event
                case PatchEvent(index=index):
                    assert logged.tokens is not None, f"patch {index} was logged without its tokens"
                    leased.tokens[leased.plan.grid.patch(index)] = logged.tokens
                case PatchRefined(index=index):
                    leased.refined.add(leased.plan.grid.patch(index))
                case _:
                    pass
        cursor = page[-1].id
    leased.patches_done = len(leased.tokens)


def _job_started(job: Job, plan: Plan, model: ModelInfo) -> JobStarted:
    return JobStarted(
        model=model.name,
        model_version=model.version,
        seed=job.seed,
        order=job.order,
        width=job.request.width,
        height=job.request.height,
        patch_px=plan.grid.patch_px,
        rows=plan.grid.rows,
        columns=plan.grid.columns,
        total=len(plan.grid),
        rounds=plan.rounds,
    )
