"""Painter: from a job's tokens to what its viewers see, in a thread of its own: pixels, images, frames; and to the log.

Meanwhile the engine draws the tokens of the next batch in another thread. What is done for one job is asked for in turn
(Worker holds the job's `in_turn`), so its log grows in order.
"""

import asyncio
from collections.abc import Sequence

from canvas.grid import Patch
from jobs.broker.base import NewEvent
from workers.engine import Engine
from workers.engine_thread import EngineThread
from workers.fits import Scorer
from workers.leased import LeasedJob
from workers.metrics import WorkerMetrics
from workers.patience import PatientBroker

GIVEN_AT_ONCE = 16  # given patches logged in one turn: some 30 ms


class Painter:
    """Calls raise EngineFailed, LeaseLost, and BrokerUnavailable while the worker is leaving."""

    def __init__(self, engine: Engine, broker: PatientBroker, metrics: WorkerMetrics) -> None:
        self.thread = EngineThread("pixels", metrics.engine_errors)
        self._engine = engine
        self._broker = broker
        self._metrics = metrics

    async def show_given(self, leased: LeasedJob) -> None:
        """Log the next patches of the caller's own pixels: viewers get the whole picture in one way."""
        patches, later = leased.unsaid[:GIVEN_AT_ONCE], leased.unsaid[GIVEN_AT_ONCE:]
        await self._broker.append(leased.lease, await asyncio.to_thread(leased.given_events, patches))
        leased.unsaid, leased.patches_done = later, leased.patches_done + len(patches)

    async def show_drawn(
        self, leased: LeasedJob, drawn: Sequence[tuple[Patch, bytes]], refine: Sequence[Patch]
    ) -> None:
        """Log new patches with their tokens, then the final pixels of patches that can be refined now.

        New patches are logged one by one, each as soon as it has its first pixels. While the log is written painting
        goes on: of the next patch, after the last one of the final pixels.
        """
        painting = [
            asyncio.create_task(self.thread.run_or_retry(self._paint, leased, patch, tokens, done))
            for done, (patch, tokens) in enumerate(drawn, start=leased.patches_done + 1)
        ]
        refining: list[asyncio.Task[list[NewEvent]]] = []
        try:
            for painted in painting:
                event = await painted
                if painted is painting[-1]:
                    refining.append(asyncio.create_task(self._refined(leased, refine)))
                await self._broker.append(leased.lease, [event])
                leased.patches_done += 1
                self._metrics.patches.inc()
            await self._broker.append(leased.lease, await refining[0])
        finally:
            for task in (*painting, *refining):
                task.cancel()

    async def show_replayed(self, leased: LeasedJob, refine: Sequence[Patch]) -> None:
        """Refine what an earlier worker had no time to; what it did refine becomes part of the picture again.

        Its final pixels are in the log; those that are gone are painted once more.
        """
        if not refine:
            return
        known = [patch for patch in refine if patch in leased.refined]
        images = await self._broker.images(leased.id, [(leased.plan.grid.index(patch), True) for patch in known])
        await self._refined(leased, await self.thread.run(leased.recall, known, images))
        new = [patch for patch in refine if patch not in leased.refined]
        await self._broker.append(leased.lease, await self._refined(leased, new))

    async def show_frame(self, leased: LeasedJob, frame: int, scorer: Scorer | None) -> None:
        """Log a frame that is complete, once the growing film has it; nothing is held of it any more.

        scorer: reads some of a candidate's frames.
        """
        while leased.unsaid:
            await self.show_given(leased)
        event = await self.thread.run(leased.add_frame, frame, scorer)
        await self._broker.append(leased.lease, [] if event is None else [event])
        await self.thread.run(self._engine.forget, leased.id, frame)

    async def _refined(self, leased: LeasedJob, patches: Sequence[Patch]) -> list[NewEvent]:
        """The events of these patches' final pixels."""
        return await self.thread.run_or_retry(self._paint_final, leased, patches) if patches else []

    def _paint(self, leased: LeasedJob, patch: Patch, tokens: bytes, done: int) -> NewEvent:
        """The event of a new patch, the done-th of its job. Runs in the painter's thread; may be repeated."""
        return leased.patch_event(patch, self._engine.render(leased.id, patch), tokens, done)

    def _paint_final(self, leased: LeasedJob, patches: Sequence[Patch]) -> list[NewEvent]:
        """The events of refined patches. Runs in the painter's thread; may be repeated."""
        pixels = self._engine.refine(leased.id, patches)
        return [leased.refined_event(*one) for one in zip(patches, pixels, strict=True)]
