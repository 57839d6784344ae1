"""The worker loop with MemoryBroker and TileEngine: pictures, events, admission, cancels and jobs that fail."""

import asyncio
import io
import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from PIL import Image

from canvas.grid import Extent, Patch
from jobs.broker.base import BrokerLimits, Lease, NewEvent
from jobs.broker.memory import MemoryBroker
from jobs.events import JobCanceled, JobFailed, JobFinished, JobStarted, PatchEvent
from jobs.job import JobStatus
from jobs.request import Area
from workers.images import how_made
from workers.tile_engine import TileEngine

pytestmark = pytest.mark.anyio


async def test_a_job_is_drawn_logged_and_stored(limits, bench) -> None:
    broker, job, engine = MemoryBroker(limits), bench.job("job", 150, 90, seed=7, order="omega"), bench.Tiles()
    await bench.submit(broker, job)
    async with bench.working(broker, engine) as worker:
        [state] = await bench.until_ended(broker, job)
        await asyncio.sleep(0.05)
        assert (await broker.models())[0].name == "tile"
    assert state.status is JobStatus.SUCCEEDED
    await bench.check_finished(broker, job)
    logged = [entry.event for entry in await bench.read_all(broker, job)]
    started = next(event for event in logged if isinstance(event, JobStarted))
    assert (started.rows, started.columns, started.total, started.seed) == (6, 10, 60, 7)
    boxes = {(event.row, event.column): event.box for event in logged if isinstance(event, PatchEvent)}
    assert boxes[0, 0] == (0, 0, 16, 16)
    assert boxes[5, 9] == (144, 80, 150, 90), "cropped to the picture at the right and bottom edge"
    assert engine.pages_used == 0
    with Image.open(io.BytesIO(bench.store.get("job") or b"")) as image:
        assert image.size == (150, 90)
        assert image.text == how_made(job, engine.model)
    assert worker.metrics.registry.get_sample_value("nuwa_worker_patches_total") == 60
    assert worker.metrics.registry.get_sample_value("nuwa_worker_jobs_ended_total", {"how": "finished"}) == 1


@pytest.mark.parametrize(
    ("add", "repaint"),
    [
        ((30, 20, 40, 10), None),
        ((0, 0, 5, 0), None),
        ((0, 3, 0, 0), None),
        ((0, 0, 0, 0), Area(left=20, top=10, width=17, height=30)),
        ((0, 0, 0, 0), Area(left=0, top=0, width=70, height=45)),
    ],
)
async def test_a_given_picture_is_streamed_extended_and_kept(limits, bench, add: Any, repaint: Area | None) -> None:
    broker, engine = MemoryBroker(limits), bench.Tiles()
    job = bench.extended("job", add, repaint)
    await bench.submit(broker, job, bench.job("other", 60, 60))
    async with bench.working(broker, engine):
        await bench.until_ended(broker, job)
    await bench.check_finished(broker, job)
    started = next(e.event for e in await bench.read_all(broker, job) if isinstance(e.event, JobStarted))
    assert started.given == job.given
    assert engine.high_water <= engine.pages_needed(job, job.plan(Extent())) + 16, "beside 16 patches of the other job"


async def test_a_mask_keeps_every_pixel_that_is_not_white_and_the_patches_without_white(limits, bench) -> None:
    mask = np.zeros((45, 70), np.bool_)
    mask[3:9, 40:44] = mask[20:40, 5:12] = True
    broker, job = MemoryBroker(limits), bench.extended("job", mask=mask)
    assert job.spared == (0, 1, 6, 7, 11, 12), "of the nine patches that the rectangle touches"
    await bench.submit(broker, job)
    async with bench.working(broker, bench.Tiles()):
        await bench.until_ended(broker, job)
    await bench.check_finished(broker, job)
    with Image.open(io.BytesIO(bench.store.get("job") or b"")) as image:
        changed = (np.asarray(image) != bench.given["job"]).any(2)
    assert not changed[~mask].any()
    assert changed[mask].mean() > 0.9


async def test_a_job_whose_mask_is_gone_fails_and_says_so(limits, bench) -> None:
    broker, job = MemoryBroker(limits), bench.extended("job", mask=np.eye(45, 70, dtype=np.bool_))
    await bench.submit(broker, job)
    bench.store.delete("job", "mask")
    async with bench.working(broker, bench.Tiles()):
        [state] = await bench.until_ended(broker, job)
    assert (state.status, state.error) == (JobStatus.FAILED, "the mask of the picture that was given is no longer kept")


async def test_a_job_whose_given_picture_is_gone_fails_and_says_so(limits, bench) -> None:
    broker, job = MemoryBroker(limits), bench.extended("job")
    await bench.submit(broker, job)
    bench.store.delete("job", "given")
    async with bench.working(broker, bench.Tiles()):
        await bench.until_ended(broker, job)
    last = (await bench.read_all(broker, job))[-1].event
    assert isinstance(last, JobFailed)
    assert last.code == "given_gone"


async def test_a_worker_announces_how_long_a_patch_takes(limits, bench) -> None:
    broker, job = MemoryBroker(limits), bench.job("job", 96, 96)
    async with bench.working(broker, bench.Tiles(before_decode=lambda _: time.sleep(0.03))):
        await asyncio.sleep(0.1)
        assert (await broker.models())[0].patch_seconds is None
        await bench.submit(broker, job)
        await bench.until_ended(broker, job)
        await asyncio.sleep(0.1)
        assert 0.01 <= (await broker.models())[0].patch_seconds < 1, "a batch holds up to 3 patches"


async def test_same_seed_gives_the_same_bytes_beside_three_other_jobs(limits, bench) -> None:
    jobs = [
        bench.job(f"job-{n}", 40 + 30 * n, 120 - 20 * n, seed=n, order=order)
        for n, order in enumerate(["zeta", "omega_star", "zeta_star", "omega"])
    ]
    broker = MemoryBroker(limits)
    await bench.submit(broker, *jobs)
    async with bench.working(broker, bench.Tiles(slots=5)):
        await bench.until_ended(broker, *jobs)
    hashes = [await bench.check_finished(broker, job) for job in jobs]
    assert hashes == [await bench.alone(job) for job in jobs]
    assert await bench.alone(bench.job("other", 40, 120, seed=99)) != hashes[0]


async def test_a_job_that_takes_long_to_begin_keeps_no_other_from_being_drawn(limits, bench) -> None:
    broker, mate, slow = MemoryBroker(limits), bench.job("mate", 96, 96), bench.job("slow", 96, 96)
    go_on = threading.Event()

    class Sketching(bench.Tiles):
        def start(self, job: Any, plan: Any, known: Any = None) -> None:
            assert job.id == mate.id or go_on.wait(20)
            super().start(job, plan, known)

    await bench.submit(broker, mate, slow)
    async with bench.working(broker, Sketching()):
        await bench.until_ended(broker, mate)
        go_on.set()
        await bench.until_ended(broker, slow)
    assert await bench.check_finished(broker, slow) == await bench.alone(slow)
    await bench.check_finished(broker, mate)


async def test_after_a_cancel_no_patch_is_logged_that_was_not_being_drawn_and_batch_mates_go_on(limits, bench) -> None:
    broker, doomed, mate = MemoryBroker(limits), bench.job("doomed", 160, 160), bench.job("mate", 96, 96)
    drawing, go_on = threading.Event(), threading.Event()
    decodes = []

    def before_decode(batch: Any) -> None:
        decodes.append([job_id for job_id, _ in batch])
        if len(decodes) == 4:
            drawing.set()
            assert go_on.wait(5)

    await bench.submit(broker, doomed, mate)
    async with bench.working(broker, bench.Tiles(before_decode=before_decode)):
        assert await asyncio.to_thread(drawing.wait, 5)
        await broker.cancel(doomed.id)
        go_on.set()
        await bench.until_ended(broker, doomed, mate)
    assert "doomed" in decodes[3], "it was being drawn when it was canceled"
    assert all("doomed" not in batch for batch in decodes[5:]), "the cancel is read while a batch is drawn"
    logged = [entry.event for entry in await bench.read_all(broker, doomed)]
    assert isinstance(logged[-1], JobCanceled)
    patches = sum(isinstance(event, PatchEvent) for event in logged)
    assert logged[-1].done == patches == sum(batch.count("doomed") for batch in decodes[:4])
    assert await bench.check_finished(broker, mate) == await bench.alone(mate)


async def test_a_poison_job_fails_alone_after_one_retry(limits, bench) -> None:
    broker, poison, mate = MemoryBroker(limits), bench.job("poison", 96, 96), bench.job("mate", 96, 96, seed=4)
    tries = []

    def before_decode(batch: Any) -> None:
        if ("poison", Patch(0, 1, 2)) in batch:
            tries.append(len(batch))
            raise MemoryError("no room for activations")

    await bench.submit(broker, poison, mate)
    async with bench.working(broker, bench.Tiles(before_decode=before_decode)):
        states = await bench.until_ended(broker, poison, mate)
    assert [state.status for state in states] == [JobStatus.FAILED, JobStatus.SUCCEEDED]
    last = (await bench.read_all(broker, poison))[-1].event
    assert isinstance(last, JobFailed)
    assert (last.code, "no room for activations" in last.message) == ("engine_error", True)
    assert tries[-1] == 1
    assert len(tries) == 2
    assert await bench.check_finished(broker, mate) == await bench.alone(mate)


async def test_a_batch_that_fails_only_as_a_whole_goes_on_one_by_one(limits, bench) -> None:
    def before_decode(batch: Any) -> None:
        if len(batch) > 1:
            raise MemoryError("too many at once")

    broker, jobs = MemoryBroker(limits), [bench.job("a", 64, 64, seed=1), bench.job("b", 64, 64, seed=2)]
    await bench.submit(broker, *jobs)
    async with bench.working(broker, bench.Tiles(before_decode=before_decode)):
        await bench.until_ended(broker, *jobs)
    for job in jobs:
        assert await bench.check_finished(broker, job) == await bench.alone(job)


async def test_leases_are_renewed_while_a_long_decode_goes_on(bench) -> None:
    broker, job = MemoryBroker(BrokerLimits(lease_s=0.3)), bench.job("job", 32, 16)
    await bench.submit(broker, job)
    slow = TileEngine(slots=1, patch_px=16, patch_tokens=2, delay_s=0.5)
    async with bench.working(broker, slow, "slow"):
        await bench.until(broker, job, lambda state: state.status is JobStatus.RUNNING)
        async with bench.working(broker, bench.Tiles(), "idle"):
            [state] = await bench.until_ended(broker, job)
    assert state.deliveries == 1


@pytest.mark.parametrize(
    ("code", "pages", "job_fields"),
    [
        ("pool_too_small", 5, {}),
        ("unknown_model", 400, {"model": "another"}),
        ("unknown_model", 400, {"patch_px": 32}),
    ],
)
async def test_a_job_that_can_never_run_here_fails_with_a_clear_code(
    code: str, pages: int, job_fields: dict[str, Any], limits, bench
) -> None:
    broker, job = MemoryBroker(limits), bench.job("job", 150, 90, **job_fields)
    await bench.submit(broker, job)
    async with bench.working(broker, bench.Tiles(pages=pages)):
        await bench.until_ended(broker, job)
    last = (await bench.read_all(broker, job))[-1].event
    assert isinstance(last, JobFailed)
    assert last.code == code


async def test_a_job_begun_with_other_weights_is_not_mixed(limits, bench) -> None:
    broker, job, engine = MemoryBroker(limits), bench.job("job", 160, 160), bench.Tiles()
    await bench.submit(broker, job)
    worker = bench.worker(broker, engine, "old")
    engine.before_decode = lambda _: worker.drain()
    await worker.run()
    newer = bench.Tiles()
    newer.model = newer.model.model_copy(update={"version": "tile-2"})
    async with bench.working(broker, newer, "new"):
        await bench.until_ended(broker, job)
    last = (await bench.read_all(broker, job))[-1].event
    assert isinstance(last, JobFailed)
    assert last.code == "model_changed"


async def test_the_result_is_stored_before_the_log_says_finished(limits, bench) -> None:
    memory, job = MemoryBroker(limits), bench.job("job", 40, 40)
    seen = []

    class Watching:
        def __getattr__(self, name: str) -> Any:
            return getattr(memory, name)

        async def append(self, lease: Lease, events: Sequence[NewEvent]) -> list[str]:
            if isinstance(events[-1].event, JobFinished):
                seen.append(bench.store.get(lease.job_id) is not None)
            return await memory.append(lease, events)

    await bench.submit(memory, job)
    async with bench.working(Watching()):
        await bench.until_ended(memory, job)
    assert seen == [True]


async def test_jobs_beyond_the_pool_wait_and_are_served_in_turn(limits, bench) -> None:
    broker, jobs = MemoryBroker(limits), [bench.job(f"job-{n}", 100, 60, seed=n) for n in range(5)]
    engine = bench.Tiles(pages=22)
    await bench.submit(broker, *jobs)
    async with bench.working(broker, engine):
        await bench.until_ended(broker, *jobs)
    assert engine.high_water <= 22
    for job in jobs:
        await bench.check_finished(broker, job)
