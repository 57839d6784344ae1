"""How long a patch takes, before the first job: from a small picture that is drawn for nobody."""

import time
from datetime import UTC, datetime

from canvas.grid import Extent
from jobs.job import Job
from jobs.request import GenerateRequest
from workers.engine import Engine
from workers.errors import PoolTooSmall
from workers.scheduler import PatchScheduler

SIDE = 2  # patches
RUNS = 2  # the first one warms up


def measured_pace(engine: Engine) -> float | None:
    """Seconds for a patch, its pixels included; None where the pool does not hold even so small a picture.

    Leaves nothing in the engine. A worker's first jobs correct the figure: logging is not in it.
    """
    seconds = None
    for run in range(RUNS):
        started = time.perf_counter()
        try:
            patches = _draw(engine, f"pace-{run}")
        except PoolTooSmall:
            return None
        seconds = round((time.perf_counter() - started) / patches, 4)
    return seconds


def _draw(engine: Engine, job_id: str) -> int:
    """Draws a picture with words, which is guided, and forgets it; how many patches it had. Raises PoolTooSmall."""
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
    engine.start(job, plan)
    try:
        while batch := scheduler.schedule():
            engine.decode(batch.patches)
            for _, patch in batch.patches:
                engine.render(job_id, patch)
            outcome = scheduler.complete(batch)
            if refine := outcome.refine.get(job_id):
                engine.refine(job_id, refine)
            engine.remove(job_id, outcome.remove.get(job_id, []))
    finally:
        engine.finish(job_id)
    return job.total
