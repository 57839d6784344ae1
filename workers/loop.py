"""Worker: takes jobs under lease, has the engine draw their patches, logs them, and survives what may go wrong.

One turn of the loop: of each job replay one batch of patches that exist already, then decide / do / record one batch of
all jobs together, and meanwhile read cancels, take a job if there is room and admit it when its pages fit. Tokens are
drawn in one thread and pixels painted in another (painter.py): while a batch is drawn, those before are painted and
logged, and leases are renewed. Nothing is kept here that log and store do not have: a worker may vanish at any point.
"""

import asyncio
import contextlib
import logging
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from functools import partial

from canvas.grid import Patch
from jobs.broker.base import Broker, Lease, NewEvent
from jobs.errors import BrokerUnavailable, JobNotFound, LeaseLost
from jobs.events import JobCanceled, JobEvent, JobFinished
from jobs.job import Job
from jobs.store import ResultStore
from workers.engine import Engine
from workers.engine_thread import EngineThread
from workers.errors import EngineFailed, GivenGone, failure
from workers.fits import Scorer
from workers.known import KnownPixels, read_given
from workers.leased import LeasedJob, open_leased
from workers.metrics import WorkerMetrics
from workers.pace import Pace
from workers.painter import Painter
from workers.patience import FIRST_RETRY_S, PatientBroker
from workers.scheduler import Outcome, PatchBatch, PatchScheduler

log = logging.getLogger("nuwa.worker")

BEHIND = 2  # batches whose pixels may wait while the next is drawn: memory stays flat, and neither thread idles


class Worker:
    """Serves jobs of one broker with one engine until drain() is called.

    name: unique among workers.  max_jobs: jobs in hand at a time.  heartbeat_s: at most a third of the lease time.
    idle_wait_s: how long an idle worker waits for a job before it looks whether it should leave.
    scorer: reads how candidates fit their prompt; without one they stay unread.  pace: as far as it is known.
    ahead: whether a batch is drawn while the pixels of those before are painted. With a single processor that would end
    nothing sooner, and show patches later.
    """

    def __init__(
        self,
        broker: Broker,
        store: ResultStore,
        engine: Engine,
        name: str,
        max_jobs: int = 8,
        heartbeat_s: float = 3.0,
        idle_wait_s: float = 1.0,
        metrics: WorkerMetrics | None = None,
        scorer: Scorer | None = None,
        pace: Pace = Pace(),
        ahead: bool = True,
    ) -> None:
        self.name = name
        self.metrics = metrics or WorkerMetrics()
        self._broker = broker
        self._store, self._workspace = store, store.workspace()
        self._engine = engine
        self._scorer = scorer
        self._behind = BEHIND if ahead else 0
        self._heartbeat_s = heartbeat_s
        self._idle_wait_s = idle_wait_s
        self._scheduler = PatchScheduler(engine.slots, engine.pages, max_jobs)
        self._leased: dict[str, LeasedJob] = {}
        self._begun: deque[list[asyncio.Task[None]]] = deque()  # what was asked for, turn by turn
        self._opening: set[asyncio.Task[None]] = set()
        self._finishing: set[asyncio.Task[None]] = set()
        self._draining = asyncio.Event()
        self._pace = pace
        self._drawing = EngineThread("tokens", self.metrics.engine_errors)
        self._beginning = EngineThread(
            "sketches", self.metrics.engine_errors
        )  # other jobs' patches do not wait for them
        self._patient = PatientBroker(broker, self._draining, self.metrics.outages)
        self._painter = Painter(engine, self._patient, self.metrics)
        self.metrics.pages.set(engine.pages)

    def drain(self) -> None:
        """Leave soon: finish and log the patches being drawn, then give all jobs back for others to resume at once."""
        self._draining.set()

    async def run(self) -> None:
        """Work until drained. Cancelling it is like a crash: leases are left to run out."""
        try:
            async with asyncio.TaskGroup() as self._tasks:
                heartbeat = self._tasks.create_task(self._heartbeat())
                while not self._draining.is_set():
                    await self._turn()
                await self._give_back()
                heartbeat.cancel()
                with contextlib.suppress(BrokerUnavailable):
                    await self._broker.announce(self.name, [], ttl_s=0)
        finally:
            for leased in self._leased.values():
                self._painter.thread.add(leased.close)
            self._drawing.close()
            self._beginning.close()
            self._painter.thread.close()

    async def _turn(self) -> None:
        await self._heed()
        self._begun.append([])
        for leased in [leased for leased in self._leased.values() if leased.is_open and not leased.is_complete]:
            if leased.unsaid:
                self._begun[-1].append(self._in_turn(leased, partial(self._painter.show_given, leased)))
            await self._replay_batch(leased)
        closed = {job_id for job_id, leased in self._leased.items() if not leased.is_open}
        batch, started = self._scheduler.schedule(closed), time.perf_counter()
        await asyncio.gather(*([self._draw(batch)] if batch else []), self._take(), self._read_cancels())
        if not batch and self._opening:
            await asyncio.wait(self._opening, return_when=asyncio.FIRST_COMPLETED)
        while len(self._begun) > self._behind:
            await asyncio.gather(*self._begun.popleft())
        if batch:
            self._pace = self._pace.after((time.perf_counter() - started) / len(batch.patches))  # logged and painted
        self.metrics.jobs_running.set(len(self._leased))
        self.metrics.pages_promised.set(self._scheduler.pages_promised)
        self.metrics.contexts_held.set(self._scheduler.pages_held)

    # Taking and opening jobs

    async def _take(self) -> None:
        """Take a job if there is room, and begin those whose pages fit."""
        if self._scheduler.has_room:
            await self._ask_for_one()
        for job_id in self._scheduler.admit():
            leased = self._leased[job_id]
            self._keep(self._opening, self._in_turn(leased, partial(self._open, leased)))

    async def _ask_for_one(self) -> None:
        is_idle = self._scheduler.pages_promised == 0
        try:
            taken = await self._broker.take(self.name, 1, self._idle_wait_s if is_idle else 0.0)
        except BrokerUnavailable:
            self.metrics.outages.inc()
            if is_idle:
                await asyncio.sleep(FIRST_RETRY_S + random.random() * self._idle_wait_s)
            return
        for lease, job in taken:
            await self._accept(lease, job)

    async def _accept(self, lease: Lease, job: Job) -> None:
        """Put a job that was just taken in line, or fail it when it can never run here."""
        if job.id in self._leased:  # ours until its lease ran out
            await self._forget_in_turn(self._leased[job.id], "lost")
        try:
            read = partial(open_leased, self._broker, lease, job, self._engine.model, self._workspace)
            leased = await self._patient.answered(read)
            pages = self._engine.pages_needed(job, leased.plan)
            self._scheduler.add(job.id, leased.plan, pages, leased.tokens.keys())
        except (JobNotFound, BrokerUnavailable) as error:
            log.warning("job %s: let go before it began: %s", job.id, error)
        except Exception as error:
            last = [NewEvent(failure(job.id, error))]
            with contextlib.suppress(LeaseLost, BrokerUnavailable):
                await self._patient.append(lease, last)
        else:
            self._leased[job.id] = leased

    async def _open(self, leased: LeasedJob) -> None:
        """The pool has room for the job from now on: tell the engine and the log."""
        if leased.job.given is not None:
            known = await asyncio.to_thread(self._read_given, leased.job)
            await self._painter.thread.run(leased.take_known, known)
        if leased.job.is_film:
            await self._painter.thread.run(leased.open_film, self._engine.model, self._store)
        await self._beginning.run_or_retry(self._engine.start, leased.job, leased.plan, leased.known)
        sketch = await self._beginning.run_or_retry(self._engine.sketch, leased.id)
        await self._patient.append(leased.lease, [leased.opening(self._engine.model, sketch)])
        leased.is_open = True
        log.info("job %s: %d of %d patches are done", leased.id, leased.patches_done, len(leased.plan.grid))

    def _read_given(self, job: Job) -> KnownPixels:
        png = self._store.get(job.id, "given")
        if png is None:
            raise GivenGone("the picture that was given is no longer kept")
        mask = self._store.get(job.id, "mask") if job.masked else None
        if job.masked and mask is None:
            raise GivenGone("the mask of the picture that was given is no longer kept")
        return read_given(png, job.layout, mask)

    async def _read_cancels(self) -> None:
        """While a batch is drawn; what is drawn of a job meanwhile is not logged any more."""
        held = [leased for leased in self._leased.values() if not leased.is_complete]
        await asyncio.gather(*(self._read_cancel(leased) for leased in held))

    async def _heed(self) -> None:
        """Before every batch: end the jobs that their owners canceled, drop those that passed to another worker."""
        for leased in [leased for leased in self._leased.values() if not leased.is_complete]:
            if leased.lost:
                await self._forget_in_turn(leased, "lost")
            elif leased.canceled:
                await self._in_turn(leased, partial(self._cancel, leased))

    async def _cancel(self, leased: LeasedJob) -> None:
        if not leased.is_complete:
            await self._end(leased, JobCanceled(done=leased.patches_done), "canceled")

    async def _read_cancel(self, leased: LeasedJob) -> None:
        try:
            leased.canceled = await self._broker.cancel_requested(leased.lease)
        except LeaseLost:
            leased.lost = True
        except BrokerUnavailable:
            self.metrics.outages.inc()  # go on; what is drawn waits to be logged

    # Drawing and logging

    async def _draw(self, batch: PatchBatch) -> None:
        """Draw the tokens of a batch, and begin to show them."""
        with self.metrics.decode_seconds.time():
            drawn = await self._decode(batch)
        outcome = self._scheduler.complete(batch)
        for job_id, patches in drawn.items():
            leased = self._leased.get(job_id)  # None: it failed meanwhile
            if leased is not None and not leased.is_over and await self._prepare(leased, outcome):
                self._begun[-1].append(self._in_turn(leased, partial(self._show, leased, outcome, patches)))

    async def _decode(self, batch: PatchBatch) -> dict[str, list[tuple[Patch, bytes]]]:
        """Patches with their tokens, by job. If the batch fails, each is tried alone: one job cannot harm another."""
        drawn: dict[str, list[tuple[Patch, bytes]]] = {job_id: [] for job_id, _ in batch.patches}
        try:
            tokens = await self._drawing.run(self._engine.decode, batch.patches)
        except Exception:
            self.metrics.engine_errors.inc()
            log.exception("a batch of %d patches failed, trying them one by one", len(batch.patches))
        else:
            for (job_id, patch), made in zip(batch.patches, tokens, strict=True):
                drawn[job_id].append((patch, made))
            return drawn
        for job_id, patch in batch.patches:
            leased = self._leased.get(job_id)
            if leased is not None and job_id in drawn:
                try:
                    [made] = await self._drawing.run(self._engine.decode, [(job_id, patch)])
                    drawn[job_id].append((patch, made))
                except Exception as error:
                    del drawn[job_id]
                    await self._in_turn(leased, partial(self._fail, leased, EngineFailed.because(error)))
        return drawn

    async def _replay_batch(self, leased: LeasedJob) -> None:
        """Put the next patches that exist into the pool, and begin to show what an earlier worker had no time to."""
        try:
            step = self._scheduler.replay(leased.id)
        except ValueError as error:
            await self._in_turn(leased, partial(self._fail, leased, error))
            return
        if step is None:
            return
        batch, outcome = step
        known = [(leased.id, patch, leased.tokens.get(patch)) for _, patch in batch.patches]
        if await self._call(leased, partial(self._engine.prefill, known)) and await self._prepare(leased, outcome):
            self.metrics.replayed.inc(len(known))
            self._begun[-1].append(self._in_turn(leased, partial(self._show, leased, outcome, [])))

    async def _prepare(self, leased: LeasedJob, outcome: Outcome) -> bool:
        """What comes before the job's next batch; False when that failed, and the job with it."""
        remove, phase = outcome.remove.get(leased.id, []), outcome.entered.get(leased.id)
        return (not remove or await self._call(leased, partial(self._engine.remove, leased.id, remove))) and (
            phase is None or await self._call(leased, partial(self._engine.enter, leased.id, phase))
        )

    async def _call(self, leased: LeasedJob, call: Callable[[], object]) -> bool:
        """An engine call for one job, beside its pixels; whether it went well. The job fails with it."""
        if self._holds(leased):
            try:
                await self._drawing.run_or_retry(call)
            except EngineFailed as error:
                await self._in_turn(leased, partial(self._fail, leased, error))
        return self._holds(leased)

    async def _show(self, leased: LeasedJob, outcome: Outcome, drawn: Sequence[tuple[Patch, bytes]]) -> None:
        """Log what a batch, drawn or replayed, made of one job, then do what follows from it."""
        refine = outcome.refine.get(leased.id, [])
        if drawn:
            await self._painter.show_drawn(leased, drawn, refine)
        else:
            await self._painter.show_replayed(leased, refine)
        if leased.film is not None:
            for frame in outcome.frames.get(leased.id, []):
                await self._painter.show_frame(leased, frame, self._scorer)
        if leased.id in outcome.finished:
            leased.is_complete = True
            self._drawing.add(partial(self._engine.finish, leased.id))  # does not wait for the next batch
            # Files take time: other jobs go on.
            self._keep(self._finishing, self._in_turn(leased, partial(self._finish, leased)))

    async def _finish(self, leased: LeasedJob) -> None:
        """Store the result, then say so."""
        while leased.unsaid:
            await self._painter.show_given(leased)
        sha256 = await asyncio.to_thread(self._write_result, leased)
        fit = await asyncio.to_thread(leased.fit, self._scorer)
        seconds = max(0.0, (datetime.now(UTC) - leased.taken_at).total_seconds())
        await self._end(leased, JobFinished(seconds=seconds, sha256=sha256, fit=fit), "finished")

    def _write_result(self, leased: LeasedJob) -> str:
        if leased.film is not None:
            return leased.finish_film()
        with self._store.writing(leased.id) as file:
            return leased.write_result(file, self._engine.model)

    # Leases and ends

    async def _heartbeat(self) -> None:
        while True:
            try:
                model = self._pace.told_of(self._engine.model)
                await self._broker.announce(self.name, [model], ttl_s=3 * self._heartbeat_s)
                await asyncio.gather(*(self._renew(leased) for leased in list(self._leased.values())))
            except BrokerUnavailable:
                self.metrics.outages.inc()
            await asyncio.sleep(self._heartbeat_s)

    async def _renew(self, leased: LeasedJob) -> None:
        try:
            await self._broker.renew(leased.lease)
        except LeaseLost:
            leased.lost = True

    def _holds(self, leased: LeasedJob) -> bool:
        return self._leased.get(leased.id) is leased

    def _keep(self, tasks: set[asyncio.Task[None]], task: asyncio.Task[None]) -> None:
        """Among the others, until it is done."""
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    def _in_turn(self, leased: LeasedJob, step: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        """Do something for a job once all that was asked for before is done, or nothing when it is let go of by then.

        Whatever goes wrong is this job's affair alone.
        """
        return self._tasks.create_task(self._do_in_turn(leased, step))

    async def _do_in_turn(self, leased: LeasedJob, step: Callable[[], Awaitable[None]]) -> None:
        async with leased.in_turn:
            if not self._holds(leased):
                return
            try:
                await step()
            except (LeaseLost, BrokerUnavailable):
                await self._forget(leased, "lost")
            except Exception as error:
                await self._fail(leased, error)

    async def _fail(self, leased: LeasedJob, error: Exception) -> None:
        await self._end(leased, failure(leased.id, error), "failed")

    async def _end(self, leased: LeasedJob, event: JobEvent, how: str) -> None:
        """Append a job's last event and let go of it."""
        if leased.film is not None and not isinstance(event, JobFinished):
            with contextlib.suppress(OSError):
                await self._painter.thread.run(leased.film.cut)
        try:
            await self._patient.append(leased.lease, [NewEvent(event)])
        except (LeaseLost, BrokerUnavailable):
            how = "lost"
        await self._forget(leased, how)

    async def _forget_in_turn(self, leased: LeasedJob, how: str) -> None:
        await self._in_turn(leased, partial(self._forget, leased, how))

    async def _forget(self, leased: LeasedJob, how: str) -> None:
        """Let go of a job, whatever state it is in; done once, and never to a later lease of the same job."""
        if not self._holds(leased):
            return
        del self._leased[leased.id]
        self._painter.thread.add(leased.close)  # after whatever of it is in line there; does not wait for us
        self._scheduler.drop(leased.id)
        await self._drawing.run(self._engine.finish, leased.id)
        self.metrics.jobs_ended.labels(how).inc()
        log.info("job %s: %s with %d of %d patches", leased.id, how, leased.patches_done, len(leased.plan.grid))

    async def _give_back(self) -> None:
        """What is drawn is logged and complete jobs get their result first; the others are released, so that nobody
        waits for leases to run out."""
        await asyncio.gather(*(task for turn in self._begun for task in turn))
        await asyncio.gather(*self._finishing)
        for leased in list(self._leased.values()):
            with contextlib.suppress(LeaseLost, BrokerUnavailable):
                await self._patient.answered(partial(self._broker.release, leased.lease))
            await self._forget_in_turn(leased, "released")
