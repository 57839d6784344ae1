"""A worker for the page's gateway: makes its jobs as real ones do, at the pace that the test wants."""

import asyncio
import base64
import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np
from page_jobs import MODEL, PATCH_PX, FakeJob, webp
from PIL import Image

from canvas.grid import Extent
from canvas.plan import Plan
from jobs.events import Fit
from jobs.job import JobStatus
from workers.video import FilmStream

SKETCH_COLOUR = (10, 200, 30)


class PageWorker:
    """Its public attributes are strings that a test pulls, at any time."""

    def __init__(self) -> None:
        self.patch_seconds = 0.01
        self.hold_after: int | None = None  # jobs wait at this number of patches
        self.sketches = False  # whether pictures are sketched before their first patch
        self.ahead = 0  # jobs stay queued with this many before them
        self.scores: dict[int, float | None] = {}  # how well candidates fit, by seed

    async def run_job(self, job: FakeJob) -> None:
        await self.until(lambda: self.ahead == 0 or job.canceled)
        if not job.canceled:
            job.status, job.started = JobStatus.RUNNING, datetime.now(UTC)
            await (self._make_frames if job.job.is_film else self._make_patches)(job)
        job.ended = datetime.now(UTC)
        if job.canceled:
            job.status = JobStatus.CANCELED
            job.add("job.canceled", done=job.done)
        elif job.is_impossible:
            job.status, job.error = JobStatus.FAILED, "The model gave up on this picture."
            job.add("job.failed", code="engine_error", message=job.error)
        else:
            job.status = JobStatus.SUCCEEDED
            seconds = (job.ended - (job.started or job.ended)).total_seconds()
            if job.job.candidate is not None:
                asked = {"terrain": ("mountains",), "celestial": ("moon", "moon_and_stars")}
                read = {"terrain": "mountains", "celestial": "sun", "time_of_day": "sunset"}
                job.fit = Fit(score=self.scores.get(job.seed), asked=asked, read=read)
            fit = job.fit and job.fit.model_dump(mode="json")
            job.add("job.finished", seconds=seconds, sha256="0" * 64, fit=fit)

    @staticmethod
    async def until(true: Callable[[], bool]) -> None:
        while not true():  # noqa: ASYNC110  (the strings are pulled from the test's thread, where no event can be set)
            await asyncio.sleep(0.01)

    async def _make_patches(self, fake: FakeJob) -> None:
        layout, picture = fake.job.layout, fake.picture()
        grid = layout.grid
        job_plan = self._begin(fake)
        rough: list[dict[str, Any]] = []
        # As workers do: given patches first, at once; then along the wavefront of rows.
        patches = sorted(grid, key=lambda at: (at not in job_plan.given, at.column + 2 * at.row, at))
        for patch in patches:
            is_given = patch in job_plan.given
            if not is_given:
                await self.until(lambda: fake.canceled or self._may_draw(fake))
            if fake.canceled or (fake.is_impossible and fake.done == 5):
                return
            box = layout.box(patch)
            place = {
                "index": grid.index(patch), "frame": 0, "row": patch.row, "column": patch.column, "box": tuple(box)
            }  # fmt: skip
            fake.done += 1
            # The first version of a drawn patch is a shade off, as one without its neighbours is.
            first = picture.crop(box) if is_given else picture.crop(box).point(lambda value: max(0, value - 3))
            fake.add("patch", **place, done=fake.done, total=len(grid), **self._image(webp(first)))
            if is_given:
                continue
            rough.append(place)
            if len(rough) > grid.rows + 1:
                self._refine(fake, picture, rough.pop(0))
            await asyncio.sleep(self.patch_seconds)
        for place in rough:
            self._refine(fake, picture, place)

    async def _make_frames(self, fake: FakeJob) -> None:
        """As workers do: frame after frame, each with its patches, and the film one frame behind them."""
        request, layout, grid = fake.job.request, fake.job.layout, fake.job.layout.grid
        self._begin(fake)
        stream = FilmStream(request.width, request.height, request.fps or 1)
        for frame in range(grid.frames):
            picture = fake.frame(frame)
            places = []
            for patch in (patch for patch in grid if patch.frame == frame):
                if not (frame == 0 and fake.given is not None):
                    await self.until(lambda: fake.canceled or self._may_draw(fake))
                    await asyncio.sleep(self.patch_seconds)
                if fake.canceled:
                    return
                box = layout.box(patch)
                place = {
                    "index": grid.index(patch), "frame": frame, "row": patch.row, "column": patch.column,
                    "box": tuple(box),
                }  # fmt: skip
                fake.done += 1
                image = self._image(webp(picture.crop(box)))
                fake.add("patch", **place, done=fake.done, total=len(grid), **image)
                places.append(place)
            for place in places:
                self._refine(fake, picture, place)
            fake.film += stream.add(np.asarray(picture))
            fake.film_type = stream.media_type
            fake.frames_done += 1
            fake.add("frame", index=frame, done=fake.frames_done, total=grid.frames, sha256="0" * 64, seconds=1.0)
        fake.film += stream.close()

    def _begin(self, fake: FakeJob) -> Plan:
        job, grid = fake.job, fake.job.layout.grid
        sketch = Image.new("RGB", (PATCH_PX, PATCH_PX), SKETCH_COLOUR) if self.sketches else None
        job_plan = job.plan(Extent(*MODEL.extent))
        fake.add(
            "job.started", model=job.model, model_version="1", seed=job.seed, order=job.order, width=job.request.width,
            height=job.request.height, patch_px=PATCH_PX, rows=grid.rows, columns=grid.columns, total=len(grid),
            rounds=job_plan.rounds, given=job.given, frames=grid.frames, fps=job.request.fps if job.is_film else None,
            sketch=None if sketch is None else self._image(webp(sketch))["image"],
        )  # fmt: skip
        return job_plan

    def _may_draw(self, fake: FakeJob) -> bool:
        return self.hold_after is None or fake.done < self.hold_after

    def _refine(self, job: FakeJob, picture: Image.Image, place: dict[str, Any]) -> None:
        job.add("patch.refined", **place, **self._image(webp(picture.crop(place["box"]))))

    @staticmethod
    def _image(data: bytes) -> dict[str, str]:
        return {
            "sha256": hashlib.sha256(data).hexdigest(),
            "image": "data:image/webp;base64," + base64.b64encode(data).decode(),
        }
