"""How long a job takes to begin and a patch to be drawn: before the first job, from a small picture for nobody."""

import time
from datetime import UTC, datetime
from typing import NamedTuple

from canvas.grid import Extent
from jobs.job import Job, ModelInfo
from jobs.request import GenerateRequest
from workers.engine import Engine
from workers.errors import PoolTooSmall
from workers.scheduler import PatchScheduler

SIDE = 2  # patches
RUNS = 2  # the first one warms up
NEWEST = 0.1  # weight of the newest batch in the moving average of a patch's time


class Pace(NamedTuple):
    """Seconds until a job's first patch is begun, and for a patch, its pixels included; None where unknown."""

    start: float | None = None
    patch: float | None = None

    def after(self, patch: float) -> "Pace":
        """The pace now that a patch took so long."""
        return self._replace(patch=patch if self.patch is None else self.patch + NEWEST * (patch - self.patch))

    def told_of(self, model: ModelInfo) -> ModelInfo:
        """What a worker with this pace says of its model, to 0.1 ms."""
        start, patch = (None if seconds is None else round(seconds, 4) for seconds in self)
        return model.model_copy(update={"start_seconds": start, "patch_seconds": patch})


def measured_pace(engine: Engine) -> Pace:
    """The pace of this engine; unknown where the pool does not hold even so small a picture.

    Leaves nothing in the engine. A worker's first jobs correct the time of a patch: logging is not in it.
    """
    try:
        return [_drawn(engine, f"pace-{run}") for run in range(RUNS)][-1]
    except PoolTooSmall:
        return Pace()


def _drawn(engine: Engine, job_id: str) -> Pace:
    """Draws a picture with words, which is guided, and forgets it. Raises PoolTooSmall."""
    model = engine.model
    side = SIDE * model.patch_px
    job = Job(
        id=job_id,
        request=GenerateRequest(prompt="a lake", width=side, height=side),
        seed=0,
        order=model.orders[0],
        model=model.name,
        patch_px=model.patch_px,
        created_at=datetime.now(UTC),
    )
    plan = job.plan(Extent(*model.extent))
    scheduler = PatchScheduler(engine.slots, engine.pages)
    scheduler.add(job_id, plan, engine.pages_needed(job, plan))
    scheduler.admit()
    started = time.perf_counter()
    engine.start(job, plan)
    begun = time.perf_counter()
    try:
        while batch := scheduler.schedule():
            engine.decode(batch.patches)
            for _, patch in batch.patches:
                engine.render(job_id, patch)
            outcome = scheduler.complete(batch)
            if refine := outcome.refine.get(job_id):
                engine.refine(job_id, refine)
            engine.remove(job_id, outcome.remove.get(job_id, []))
        return Pace(begun - started, (time.perf_counter() - begun) / job.total)
    finally:
        engine.finish(job_id)
