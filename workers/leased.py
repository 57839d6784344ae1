"""LeasedJob: one job while this worker holds its lease, what its log says was done before, and its next events."""

import asyncio
import hashlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import numpy as np

from canvas.grid import Extent, Patch
from canvas.plan import Plan
from jobs.broker.base import LOG_START, Broker, Lease, NewEvent
from jobs.errors import UnknownModel
from jobs.events import Fit, FrameEvent, JobResumed, JobStarted, PatchEvent, PatchRefined
from jobs.job import Job, ModelInfo
from jobs.store import ResultStore
from workers.bands import write_png
from workers.engine import Pixels
from workers.errors import ModelChanged
from workers.film import Film
from workers.fits import Scorer, fit_of, is_read, mean_fit
from workers.images import data_address, decode_webp, encode_webp, how_made
from workers.known import KnownPixels
from workers.spool import PatchSpool


@dataclass(eq=False)
class LeasedJob:
    """A job under our lease. `canceled` and `lost` are set by whoever learns of it and acted upon between batches.

    Its pixels are in files until close(), which is for the thread that puts patches in.
    """

    lease: Lease
    job: Job
    plan: Plan
    spool: PatchSpool
    taken_at: datetime  # by the first worker that ever took it
    known: KnownPixels | None = None
    unsaid: list[Patch] = field(default_factory=list)  # given patches that are not in the log yet
    started: JobStarted | None = None  # as an earlier worker logged it
    tokens: dict[Patch, bytes] = field(default_factory=dict)  # of the patches done by earlier workers
    refined: set[Patch] = field(default_factory=set)  # patches whose final pixels are in the log
    film: Film | None = None  # of films, while they are open
    frames_said: int = 0  # frames that are in the log
    fits: list[Fit | None] = field(default_factory=list)  # of a candidate's frames, those that are read
    patches_done: int = 0  # drawn or given, and logged
    is_open: bool = False  # the engine knows of it
    is_complete: bool = False  # every patch is final; only the result is left to store
    canceled: bool = False
    lost: bool = False
    in_turn: asyncio.Lock = field(default_factory=asyncio.Lock)  # held by whoever logs for the job, in the order asked
    _closed: bool = False
    _writing: threading.Lock = field(default_factory=threading.Lock)  # close() waits for write_result() and fit()

    @property
    def id(self) -> str:
        return self.job.id

    @property
    def is_over(self) -> bool:
        """Nothing of it is to be logged any more, except its end."""
        return self.canceled or self.lost

    def take_known(self, known: KnownPixels) -> None:
        """The caller's picture becomes part of the picture, where it stays."""
        self.known = known
        for patch in self.plan.given:
            self.spool.place(patch, self._given(patch))

    def recall(self, patches: Sequence[Patch], images: Sequence[bytes | None]) -> list[Patch]:
        """Put in the final pixels that an earlier worker logged as WebP; the patches whose pixels are gone (None)."""
        for patch, image in zip(patches, images, strict=True):
            if image is not None:
                self.spool.place(patch, decode_webp(image))
        return [patch for patch, image in zip(patches, images, strict=True) if image is None]

    def open_film(self, model: ModelInfo, store: ResultStore) -> None:
        """Begin the film's files. For close()'s thread, so that close() always comes after it."""
        self.film = Film(self.job, model, store)

    def add_frame(self, frame: int, scorer: Scorer | None = None) -> NewEvent | None:
        """A frame all of whose patches are final goes into the film, and out of what is held; None when the log has it.

        Every frame must come, in turn: also those that an earlier worker logged.  scorer: reads some of a candidate's.
        """
        assert self.film is not None, "a frame of what is no film"
        pixels = self.spool.frame(frame)
        sha256 = self.film.add(pixels)
        if scorer is not None and self.job.candidate is not None and is_read(frame, self.plan.grid.frames):
            request = self.job.request
            self.fits.append(fit_of(scorer, [pixels], request.width, request.height, request.prompt))
        self.spool.forget(frame)
        self.tokens = {patch: tokens for patch, tokens in self.tokens.items() if patch.frame > frame}
        self.refined = {patch for patch in self.refined if patch.frame > frame}
        if frame < self.frames_said:
            return None
        total, seconds = self.plan.grid.frames, (datetime.now(UTC) - self.taken_at).total_seconds()
        self.frames_said = frame + 1
        event = FrameEvent(index=frame, done=frame + 1, total=total, sha256=sha256, seconds=max(0.0, seconds))
        return NewEvent(event)

    def finish_film(self) -> str:
        """The film's files into the store; the sha256 of all its pixels. Raises ValueError when they were closed."""
        with self._writing:
            if self._closed or self.film is None:
                raise ValueError("the frames are gone")
            return self.film.finish()

    def write_result(self, file: IO[bytes], model: ModelInfo) -> str:
        """The picture as a PNG that says how it was made, band by band; the sha256 of its RGB rows from the top.

        Raises ValueError when the job was closed before.
        """
        layout = self.job.layout
        with self._writing:
            if self._closed:
                raise ValueError("the pixels are gone")
            return write_png(file, layout.width, layout.height, self.spool.bands(), how_made(self.job, model))

    def fit(self, scorer: Scorer | None) -> Fit | None:
        """How a finished candidate of a group fits its prompt, None where that cannot be read.  None: nobody reads."""
        if self.film is not None:
            return mean_fit(self.fits)
        layout = self.job.layout
        with self._writing:
            if scorer is None or self.job.candidate is None or self._closed:
                return None
            return fit_of(scorer, self.spool.bands(), layout.width, layout.height, self.job.request.prompt)

    def close(self) -> None:
        """Forget the pixels; waits until a result that is being written is whole."""
        with self._writing:
            self._closed = True
            self.spool.close()
            if self.film is not None:
                self.film.close()

    def opening(self, model: ModelInfo, sketch: Pixels | None = None) -> NewEvent:
        """The first event of this lease: JobStarted, or JobResumed when an earlier worker logged that already.

        sketch: of the whole canvas, for whoever watches.
        """
        if self.started is not None:
            return NewEvent(JobResumed(done=self.patches_done))
        return NewEvent(_job_started(self.job, self.plan, model, sketch))

    def patch_event(self, patch: Patch, pixels: Pixels, tokens: bytes, done: int) -> NewEvent:
        """A patch that was just drawn, as the done-th of its job."""
        return self._patch_event(patch, self._cropped(patch, pixels), tokens, done)

    def given_events(self, patches: Sequence[Patch]) -> list[NewEvent]:
        """The next patches of the caller's own pixels. They have no tokens: those follow from the pixels."""
        numbered = enumerate(patches, start=self.patches_done + 1)
        return [self._patch_event(patch, self._given(patch), None, done) for done, patch in numbered]

    def _given(self, patch: Patch) -> Pixels:
        """What is seen of a patch that is known wholly."""
        assert self.known is not None, "a given patch without a given picture"
        box = self.job.layout.box(patch)
        return self.known.keep(np.zeros((box.bottom - box.top, box.right - box.left, 3), np.uint8), patch.frame, box)

    def _cropped(self, patch: Patch, pixels: Pixels) -> Pixels:
        """What is seen of a patch, with the known pixels in their place."""
        cropped = self.spool.crop(patch, pixels)
        return cropped if self.known is None else self.known.keep(cropped, patch.frame, self.job.layout.box(patch))

    def _patch_event(self, patch: Patch, cropped: Pixels, tokens: bytes | None, done: int) -> NewEvent:
        grid = self.plan.grid
        image = encode_webp(cropped)
        event = PatchEvent(
            index=grid.index(patch),
            frame=patch.frame,
            row=patch.row,
            column=patch.column,
            box=self.job.layout.box(patch),
            done=done,
            total=len(grid),
            sha256=hashlib.sha256(image).hexdigest(),
        )
        return NewEvent(event, image, tokens)

    def refined_event(self, patch: Patch, pixels: Pixels) -> NewEvent:
        """The final pixels of a patch; they also become part of the picture."""
        cropped = self._cropped(patch, pixels)
        self.spool.place(patch, cropped)
        image = encode_webp(cropped)
        event = PatchRefined(
            index=self.plan.grid.index(patch),
            frame=patch.frame,
            row=patch.row,
            column=patch.column,
            box=self.job.layout.box(patch),
            sha256=hashlib.sha256(image).hexdigest(),
        )
        return NewEvent(event, image)


async def open_leased(broker: Broker, lease: Lease, job: Job, model: ModelInfo, folder: Path) -> LeasedJob:
    """Lay out the canvas and read what the log says of it.  folder: where its pixels are until the result is written.

    Raises JobNotFound, BrokerUnavailable; UnknownModel or ModelChanged when the loaded model is not the job's.
    """
    if (job.model, job.patch_px) != (model.name, model.patch_px):
        raise UnknownModel(f"this worker serves {model.name!r}, the job asks for {job.model!r}")
    plan = job.plan(Extent(*model.extent))
    state = await broker.state(job.id)
    leased = LeasedJob(lease, job, plan, PatchSpool(job.layout, folder), state.started_at or datetime.now(UTC))
    await _read_log(broker, leased)
    if leased.started is not None and leased.started.model_version != model.version:
        raise ModelChanged(f"begun with version {leased.started.model_version}, this worker has {model.version}")
    return leased


async def _read_log(broker: Broker, leased: LeasedJob) -> None:
    cursor, grid = LOG_START, leased.plan.grid
    said: set[Patch] = set()
    while page := await broker.read(leased.id, cursor, tokens=True):
        for logged in page:
            match logged.event:
                case JobStarted():
                    leased.started = logged.event
                case PatchEvent(index=index):
                    if (patch := grid.patch(index)) in leased.plan.given:
                        said.add(patch)
                    else:
                        assert logged.tokens is not None, f"patch {index} was logged without its tokens"
                        leased.tokens[patch] = logged.tokens
                case PatchRefined(index=index):
                    leased.refined.add(grid.patch(index))
                case FrameEvent(done=done):
                    leased.frames_said = done
                case _:
                    pass
        cursor = page[-1].id
    leased.patches_done = len(leased.tokens) + len(said)
    leased.unsaid = sorted(leased.plan.given - said)


def _job_started(job: Job, plan: Plan, model: ModelInfo, sketch: Pixels | None) -> JobStarted:
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
        frames=plan.grid.frames,
        fps=job.request.fps,
        given=job.given,
        repaint=job.request.repaint,
        masked=job.masked,
        sketch=None if sketch is None else data_address(sketch),
    )
