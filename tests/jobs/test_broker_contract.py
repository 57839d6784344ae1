"""What every broker promises (jobs/broker/base.py), against the one in memory and the one on a real Redis."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

import pytest

from jobs.broker.base import LOG_START, Broker, BrokerLimits, Lease, LoggedEvent, NewEvent
from jobs.errors import IdempotencyKeyReused, JobNotFound, LeaseLost, QueueFull
from jobs.events import (
    TERMINAL,
    Fit,
    JobCanceled,
    JobFailed,
    JobFinished,
    JobQueued,
    JobResumed,
    JobStarted,
    PatchEvent,
    PatchRefined,
)
from jobs.job import Candidate, Job, JobStatus, ModelInfo

pytestmark = pytest.mark.anyio

LEASE_S = 0.5
TOTAL = 8
STARTED = JobStarted(
    model="tiny",
    model_version="1",
    seed=7,
    order="omega",
    width=256,
    height=128,
    patch_px=64,
    rows=2,
    columns=4,
    total=TOTAL,
    rounds=6,
)
FINISHED = JobFinished(seconds=1.5, sha256="ab")

NewJob = Callable[..., Job]
PassTime = Callable[[float], Awaitable[None]]


@pytest.fixture
def limits() -> BrokerLimits:
    return BrokerLimits(lease_s=LEASE_S, max_deliveries=3, queue_max=5, job_ttl_s=60)


def patch(index: int, image: bytes | None = None, tokens: bytes | None = None) -> NewEvent:
    event = PatchEvent(
        index=index,
        frame=0,
        row=0,
        column=index,
        box=(64 * index, 0, 64 * index + 64, 64),
        done=index + 1,
        total=TOTAL,
        sha256="00",
    )
    return NewEvent(event, image, tokens)


def refined(index: int, image: bytes) -> NewEvent:
    event = PatchRefined(index=index, frame=0, row=0, column=index, box=(0, 0, 64, 64), sha256="01")
    return NewEvent(event, image)


async def take_one(broker: Broker, worker: str = "worker-a") -> tuple[Lease, Job]:
    [taken] = await broker.take(worker, 1, wait_s=2)
    return taken


async def submit_and_take(broker: Broker, job: Job, worker: str = "worker-a") -> Lease:
    await broker.submit(job, TOTAL)
    return (await take_one(broker, worker))[0]


async def read_all(broker: Broker, job_id: str) -> list[LoggedEvent]:
    return await broker.read(job_id, limit=10_000, tokens=True)


def as_numbers(entry_id: str) -> tuple[int, ...]:
    return tuple(int(part) for part in entry_id.split("-"))


class TestQueue:
    async def test_a_submitted_job_waits_with_its_first_event(self, broker: Broker, new_job: NewJob) -> None:
        job = new_job()
        await broker.submit(job, TOTAL)
        state = await broker.state(job.id)
        assert (state.job, state.status, state.queue_position) == (job, JobStatus.QUEUED, 0)
        assert (state.patches_done, state.patches_total, state.deliveries) == (0, TOTAL, 0)
        assert (state.started_at, state.ended_at, state.error) == (None, None, None)
        assert [logged.event for logged in await read_all(broker, job.id)] == [JobQueued()]
        assert await broker.depth() == 1

    async def test_submitting_a_job_twice_queues_it_once(self, broker: Broker, new_job: NewJob) -> None:
        job = new_job()
        await broker.submit(job, TOTAL)
        await broker.submit(job, TOTAL)
        assert await broker.depth() == 1
        assert len(await read_all(broker, job.id)) == 1

    async def test_jobs_are_taken_in_the_order_of_their_coming(self, broker: Broker, new_job: NewJob) -> None:
        jobs = [new_job() for _ in range(4)]
        for job in jobs:
            await broker.submit(job, TOTAL)
        first = await broker.take("worker-a", 3, 0)
        second = await broker.take("worker-b", 3, 0)
        assert [job for _, job in first + second] == jobs
        assert [lease for lease, _ in first] == [Lease(job.id, "worker-a", 1, 1) for job in jobs[:3]]

    async def test_a_taken_job_runs(self, broker: Broker, new_job: NewJob) -> None:
        lease = await submit_and_take(broker, new_job())
        state = await broker.state(lease.job_id)
        assert (state.status, state.queue_position, state.deliveries) == (JobStatus.RUNNING, None, 1)
        assert state.started_at is not None
        assert state.started_at.tzinfo is not None
        assert await broker.depth() == 0

    async def test_take_waits_for_a_job_and_gives_up_in_time(self, broker: Broker, new_job: NewJob) -> None:
        started = time.monotonic()
        assert await broker.take("worker-a", 1, 0.15) == []
        assert 0.1 < time.monotonic() - started < 2
        taking = asyncio.create_task(broker.take("worker-a", 1, 5))
        await asyncio.sleep(0.05)
        started = time.monotonic()
        await broker.submit(new_job(), TOTAL)
        assert len(await taking) == 1
        assert time.monotonic() - started < 0.9

    async def test_taking_no_job_at_all_is_a_mistake(self, broker: Broker) -> None:
        with pytest.raises(ValueError, match="at least one"):
            await broker.take("worker-a", 0, 0)

    @pytest.mark.parametrize("limits", [BrokerLimits(lease_s=60)], ids=["60s"])
    async def test_many_takers_never_get_the_same_job(self, broker: Broker, new_job: NewJob) -> None:
        taking = [asyncio.create_task(broker.take(f"worker-{number}", 1, 20)) for number in range(8)]
        jobs = [new_job() for _ in range(len(taking))]
        taken: list[str] = []
        for some in (jobs[:5], jobs[5:]):
            for job in some:
                await broker.submit(job, TOTAL)
            taken += [job.id for job in some]
            while sum(task.done() for task in taking) < len(taken):  # noqa: ASYNC110 - several tasks, not one event
                await asyncio.sleep(0.005)
            assert sorted(job.id for task in taking if task.done() for _, job in task.result()) == taken

    async def test_queue_positions_move_up(self, broker: Broker, new_job: NewJob) -> None:
        jobs = [new_job() for _ in range(4)]
        for job in jobs:
            await broker.submit(job, TOTAL)
        assert [(await broker.state(job.id)).queue_position for job in jobs] == [0, 1, 2, 3]
        await take_one(broker)
        await broker.cancel(jobs[2].id)
        assert [(await broker.state(job.id)).queue_position for job in jobs] == [None, 0, None, 1]

    async def test_a_full_queue_refuses_and_has_room_again(self, broker: Broker, new_job: NewJob) -> None:
        for _ in range(5):
            await broker.submit(new_job(), TOTAL)
        refused = new_job()
        with pytest.raises(QueueFull) as caught:
            await broker.submit(refused, TOTAL)
        assert caught.value.retry_after_s > 0
        with pytest.raises(JobNotFound):
            await broker.state(refused.id)
        await take_one(broker)
        await broker.submit(refused, TOTAL)

    async def test_several_jobs_are_accepted_all_or_none(self, broker: Broker, new_job: NewJob) -> None:
        first, *jobs = [new_job() for _ in range(4)]
        await broker.submit(first, TOTAL)
        await broker.submit_all([(job, TOTAL) for job in jobs])
        assert [(await broker.state(job.id)).queue_position for job in (first, *jobs)] == [0, 1, 2, 3]
        too_many = [new_job(), new_job()]
        with pytest.raises(QueueFull):
            await broker.submit_all([(job, TOTAL) for job in too_many])
        for job in too_many:
            with pytest.raises(JobNotFound):
                await broker.state(job.id)
        await broker.submit_all([(job, TOTAL) for job in (*jobs, too_many[0])])  # those that are there stay as they are
        assert await broker.depth() == 5

    async def test_an_unknown_job_is_not_found(self, broker: Broker) -> None:
        for asked in (broker.state("nobody"), broker.cancel("nobody"), broker.read("nobody")):
            with pytest.raises(JobNotFound):
                await asked
        assert await broker.images("nobody", [(0, False)]) == [None]
        ghost = Lease("nobody", "worker-a", 1, 1)
        for written in (broker.renew(ghost), broker.release(ghost), broker.append(ghost, [patch(0)])):
            with pytest.raises(LeaseLost):
                await written


class TestLease:
    async def test_an_abandoned_job_passes_on_with_the_next_epoch(
        self, broker: Broker, new_job: NewJob, pass_time: PassTime
    ) -> None:
        lost = await submit_and_take(broker, new_job())
        assert await broker.take("worker-b", 1, 0) == []
        await pass_time(LEASE_S + 0.05)
        later = new_job()
        await broker.submit(later, TOTAL)
        (lease, _), (other, _) = await broker.take("worker-b", 2, 0)
        assert lease == Lease(lost.job_id, "worker-b", 2, 2)  # before the job that came later
        assert other.job_id == later.id

    async def test_a_waiting_taker_gets_a_job_when_its_lease_runs_out(
        self, broker: Broker, new_job: NewJob, pass_time: PassTime
    ) -> None:
        lost = await submit_and_take(broker, new_job())
        taking = asyncio.create_task(broker.take("worker-b", 1, 3))
        await asyncio.sleep(0.05)
        await pass_time(LEASE_S + 0.05)
        [(lease, _)] = await taking
        assert lease.job_id == lost.job_id

    async def test_a_renewed_lease_is_never_passed_on(
        self, broker: Broker, new_job: NewJob, pass_time: PassTime
    ) -> None:
        lease = await submit_and_take(broker, new_job())
        for _ in range(5):
            await pass_time(LEASE_S * 0.5)
            await broker.renew(lease)
            assert await broker.take("worker-b", 1, 0) == []
        await broker.append(lease, [patch(0)])

    async def test_a_worker_that_lost_its_lease_can_do_nothing(
        self, broker: Broker, new_job: NewJob, pass_time: PassTime
    ) -> None:
        lost = await submit_and_take(broker, new_job())
        event = patch(0, b"image", b"tokens")
        await broker.append(lost, [event])
        await pass_time(LEASE_S + 0.05)
        await broker.append(lost, [patch(1)])  # late, but nobody has taken it over yet
        lease, _ = await take_one(broker, "worker-b")
        before = await read_all(broker, lost.job_id)
        for refused in (
            broker.append(lost, [patch(1)]),
            broker.append(lost, [NewEvent(FINISHED)]),
            broker.renew(lost),
            broker.release(lost),
            broker.cancel_requested(lost),
        ):
            with pytest.raises(LeaseLost):
                await refused
        assert await read_all(broker, lost.job_id) == before
        await broker.append(lease, [NewEvent(JobResumed(done=2))])

    async def test_the_same_worker_may_lose_a_lease_to_itself(
        self, broker: Broker, new_job: NewJob, pass_time: PassTime
    ) -> None:
        first = await submit_and_take(broker, new_job())
        await pass_time(LEASE_S + 0.05)
        second, _ = await take_one(broker, first.worker)
        assert second.epoch == 2
        with pytest.raises(LeaseLost):
            await broker.renew(first)
        await broker.renew(second)

    async def test_a_released_job_can_be_taken_at_once(self, broker: Broker, new_job: NewJob) -> None:
        given_back = await submit_and_take(broker, new_job())
        await broker.release(given_back)
        assert (await broker.state(given_back.job_id)).status is JobStatus.RUNNING
        with pytest.raises(LeaseLost):
            await broker.append(given_back, [patch(0)])
        [(lease, _)] = await broker.take("worker-b", 1, 0)
        assert (lease.job_id, lease.epoch) == (given_back.job_id, 2)

    async def test_a_job_that_kills_every_worker_fails_for_good(
        self, broker: Broker, new_job: NewJob, pass_time: PassTime
    ) -> None:
        job = new_job()
        await broker.submit(job, TOTAL)
        for delivery in (1, 2, 3):
            lease, _ = await take_one(broker)
            assert lease.delivery == delivery
            await pass_time(LEASE_S + 0.05)
        assert await broker.take("worker-b", 1, 0) == []
        state = await broker.state(job.id)
        assert (state.status, state.deliveries) == (JobStatus.FAILED, 3)
        assert state.error is not None
        last = (await read_all(broker, job.id))[-1].event
        assert isinstance(last, JobFailed)
        assert (last.code, last.message) == ("too_many_deliveries", state.error)
        assert await broker.dead_letters() == [job]

    async def test_a_job_that_makes_progress_outlives_many_workers(self, broker: Broker, new_job: NewJob) -> None:
        job = new_job()
        await broker.submit(job, TOTAL)
        for number in range(7):
            lease, _ = await take_one(broker)
            await broker.append(lease, [patch(number)])
            await broker.release(lease)
        assert (await broker.state(job.id)).deliveries == 7
        assert await broker.dead_letters() == []


class TestCancel:
    async def test_a_queued_job_ends_at_once(self, broker: Broker, new_job: NewJob) -> None:
        job = new_job()
        await broker.submit(job, TOTAL)
        for _ in range(2):
            state = await broker.cancel(job.id)
            assert (state.status, state.queue_position) == (JobStatus.CANCELED, None)
        assert [logged.event for logged in await read_all(broker, job.id)] == [JobQueued(), JobCanceled(done=0)]
        assert await broker.depth() == 0
        assert await broker.take("worker-a", 1, 0) == []

    async def test_a_running_job_is_asked_to_stop(self, broker: Broker, new_job: NewJob) -> None:
        lease = await submit_and_take(broker, new_job())
        assert not await broker.cancel_requested(lease)
        for _ in range(2):
            assert (await broker.cancel(lease.job_id)).status is JobStatus.RUNNING
        assert await broker.cancel_requested(lease)
        await broker.append(lease, [NewEvent(JobCanceled(done=0))])
        assert (await broker.cancel(lease.job_id)).status is JobStatus.CANCELED

    async def test_an_ended_job_stays_as_it_is(self, broker: Broker, new_job: NewJob) -> None:
        lease = await submit_and_take(broker, new_job())
        await broker.append(lease, [NewEvent(FINISHED)])
        before = await read_all(broker, lease.job_id)
        assert (await broker.cancel(lease.job_id)).status is JobStatus.SUCCEEDED
        assert await read_all(broker, lease.job_id) == before

    async def test_a_job_whose_worker_was_lost_ends_at_once(
        self, broker: Broker, new_job: NewJob, pass_time: PassTime
    ) -> None:
        lease = await submit_and_take(broker, new_job())
        await broker.append(lease, [patch(0), patch(1)])
        await pass_time(LEASE_S + 0.05)
        assert (await broker.cancel(lease.job_id)).status is JobStatus.CANCELED
        assert (await read_all(broker, lease.job_id))[-1].event == JobCanceled(done=2)

    async def test_a_canceled_job_is_not_handed_over(
        self, broker: Broker, new_job: NewJob, pass_time: PassTime
    ) -> None:
        lease = await submit_and_take(broker, new_job())
        await broker.append(lease, [patch(0)])
        await broker.cancel(lease.job_id)
        await pass_time(LEASE_S + 0.05)
        assert await broker.take("worker-b", 1, 0) == []
        assert (await read_all(broker, lease.job_id))[-1].event == JobCanceled(done=1)
        with pytest.raises(LeaseLost):
            await broker.append(lease, [patch(1)])


class TestLog:
    async def test_a_job_from_start_to_end(self, broker: Broker, new_job: NewJob) -> None:
        lease = await submit_and_take(broker, new_job())
        ids = await broker.append(lease, [NewEvent(STARTED)])
        ids += await broker.append(lease, [patch(0, b"a"), patch(1, b"b"), refined(0, b"c")])
        assert (await broker.state(lease.job_id)).patches_done == 2
        ids += await broker.append(lease, [NewEvent(FINISHED)])
        log = await read_all(broker, lease.job_id)
        assert [logged.id for logged in log[1:]] == ids
        assert [as_numbers(logged.id) for logged in log] == sorted({as_numbers(logged.id) for logged in log})
        assert [logged.event.kind for logged in log] == [
            *("job.queued", "job.started", "patch", "patch", "patch.refined", "job.finished")
        ]
        state = await broker.state(lease.job_id)
        assert (state.status, state.patches_done, state.error) == (JobStatus.SUCCEEDED, 2, None)
        assert state.started_at is not None
        assert state.ended_at is not None
        assert state.started_at <= state.ended_at

    async def test_images_and_tokens_come_back_byte_for_byte(self, broker: Broker, new_job: NewJob) -> None:
        lease = await submit_and_take(broker, new_job())
        image, tokens = bytes(range(256)) * 4000, b"\x00\xff\r\n" * 32
        await broker.append(lease, [patch(3, image, tokens), patch(4, b"", b""), patch(5), refined(3, image[::-1])])
        assert await broker.images(
            lease.job_id, [(3, True), (3, False), (4, False), (5, False), (4, True), (99, False)]
        ) == [image[::-1], image, b"", None, None, None]
        assert await broker.images(lease.job_id, []) == []
        log = await broker.read(lease.job_id, tokens=True)
        assert [logged.tokens for logged in log] == [None, tokens, b"", None, None]
        assert {logged.tokens for logged in await broker.read(lease.job_id)} == {None}

    async def test_exactly_one_terminal_event_ends_a_log(self, broker: Broker, new_job: NewJob) -> None:
        failed = JobFailed(code="out_of_memory", message="The picture is too large for this device.")
        lease = await submit_and_take(broker, new_job())
        with pytest.raises(ValueError, match="terminal"):
            await broker.append(lease, [NewEvent(FINISHED), patch(0)])
        await broker.append(lease, [patch(0), NewEvent(failed)])
        for event in (patch(1), NewEvent(FINISHED), NewEvent(JobCanceled(done=1))):
            with pytest.raises(LeaseLost):
                await broker.append(lease, [event])
        for refused in (broker.renew(lease), broker.release(lease), broker.cancel_requested(lease)):
            with pytest.raises(LeaseLost):
                await refused
        log = await read_all(broker, lease.job_id)
        assert [logged.event for logged in log if isinstance(logged.event, TERMINAL)] == [failed]
        assert log[-1].event == failed
        state = await broker.state(lease.job_id)
        assert (state.status, state.error, state.fit) == (JobStatus.FAILED, failed.message, None)

    async def test_how_a_finished_picture_fits_is_part_of_its_state(self, broker: Broker, new_job: NewJob) -> None:
        job = new_job()
        lease = await submit_and_take(broker, job)
        fit = Fit(score=0.25, asked={"water": ("lake", "sea")}, read={"water": "none"})
        assert (await broker.state(job.id)).fit is None
        await broker.append(lease, [NewEvent(JobFinished(seconds=1.0, sha256="ab", fit=fit))])
        assert (await broker.state(job.id)).fit == fit

    @pytest.mark.parametrize("last", [patch(1, b"b"), NewEvent(FINISHED)], ids=["patch", "terminal"])
    async def test_a_repeated_append_writes_once(self, broker: Broker, new_job: NewJob, last: NewEvent) -> None:
        lease = await submit_and_take(broker, new_job())
        ids = await broker.append(lease, [patch(0, b"a"), last])
        before = await read_all(broker, lease.job_id)
        assert await broker.append(lease, [patch(0, b"a"), last]) == ids
        assert await read_all(broker, lease.job_id) == before
        assert (await broker.state(lease.job_id)).patches_done == (2 if last.image else 1)

    async def test_appending_nothing_changes_nothing(self, broker: Broker, new_job: NewJob) -> None:
        lease = await submit_and_take(broker, new_job())
        assert await broker.append(lease, []) == []
        assert len(await read_all(broker, lease.job_id)) == 1

    @pytest.mark.parametrize("limits", [BrokerLimits(job_ttl_s=0.2)], ids=["0.2s"])
    async def test_an_ended_job_is_forgotten_after_its_time_to_live(
        self, broker: Broker, new_job: NewJob, pass_time: PassTime, limits: BrokerLimits
    ) -> None:
        lease = await submit_and_take(broker, new_job())
        await broker.append(lease, [patch(0, b"a"), NewEvent(FINISHED)])
        await pass_time(limits.job_ttl_s / 2)
        assert (await broker.state(lease.job_id)).status is JobStatus.SUCCEEDED
        await pass_time(limits.job_ttl_s)
        for asked in (broker.state(lease.job_id), broker.read(lease.job_id)):
            with pytest.raises(JobNotFound):
                await asked
        assert await broker.images(lease.job_id, [(0, False)]) == [None]

    @pytest.mark.parametrize("limits", [BrokerLimits(job_ttl_s=0.4)], ids=["0.4s"])
    async def test_candidates_are_kept_until_the_time_to_live_of_the_last_one_is_over(
        self, broker: Broker, new_job: NewJob, pass_time: PassTime, limits: BrokerLimits
    ) -> None:
        group = [
            new_job().model_copy(
                update={"id": f"group-{place}", "claim": "key", "candidate": Candidate(group="group", place=place, n=3)}
            )
            for place in range(3)
        ]
        await broker.submit_all([(job, TOTAL) for job in group])
        for how in ("drawn", "canceled", "canceled"):
            if how == "drawn":
                lease, _ = await take_one(broker)
                await broker.append(lease, [patch(0, b"a"), NewEvent(FINISHED)])
            else:
                await broker.cancel(group[2 if (await broker.state("group-1")).ended_at else 1].id)
            await pass_time(limits.job_ttl_s * 0.7)
            assert await broker.claimed("key") == "group-0"
            for job in group:
                await broker.state(job.id)
            assert await broker.images("group-0", [(0, False)]) == [b"a"]
        await pass_time(limits.job_ttl_s * 0.7)
        for job in group:
            with pytest.raises(JobNotFound):
                await broker.state(job.id)
        assert await broker.claimed("key") is None


class TestClaims:
    async def test_a_claim_is_held_by_the_first_job_of_the_request_that_came_first(
        self, broker: Broker, new_job: NewJob
    ) -> None:
        job, same, other = (new_job().model_copy(update={"claim": "key"}) for _ in range(3))
        assert await broker.claimed("key") is None
        await broker.submit_all([(job, TOTAL), (same, TOTAL)])
        await broker.submit_all([(job, TOTAL), (same, TOTAL)])
        assert await broker.claimed("key") == job.id
        for jobs in ([other], [other, job]):
            with pytest.raises(IdempotencyKeyReused):
                await broker.submit_all([(one, TOTAL) for one in jobs])
        assert await broker.depth() == 2
        assert await broker.claimed("key") == job.id

    async def test_a_refused_request_holds_no_claim(
        self, broker: Broker, new_job: NewJob, limits: BrokerLimits
    ) -> None:
        jobs = [new_job().model_copy(update={"claim": "key"}) for _ in range(limits.queue_max + 1)]
        with pytest.raises(QueueFull):
            await broker.submit_all([(job, TOTAL) for job in jobs])
        assert await broker.claimed("key") is None
        await broker.submit(jobs[1], TOTAL)
        assert await broker.claimed("key") == jobs[1].id


class TestReader:
    @pytest.mark.parametrize("seed", range(3))
    async def test_a_reader_that_returns_misses_nothing_and_repeats_nothing(
        self, broker: Broker, new_job: NewJob, seed: int
    ) -> None:
        """62 events, written 1 to 5 at a time and read 1 to 4 at a time: some 25 cuts for each seed."""
        chance = random.Random(seed)
        lease = await submit_and_take(broker, new_job())

        async def write() -> None:
            index = 0
            while index < 60:
                batch = [patch(index + offset) for offset in range(min(chance.randint(1, 5), 60 - index))]
                await broker.append(lease, batch)
                index += len(batch)
                await asyncio.sleep(chance.random() * 0.01)
            await broker.append(lease, [NewEvent(FINISHED)])

        writing = asyncio.create_task(write())
        seen: list[LoggedEvent] = []
        cursor = LOG_START
        while not seen or not isinstance(seen[-1].event, TERMINAL):
            grown = await broker.wait({lease.job_id: cursor}, 2, limit=chance.randint(1, 4))
            if grown and chance.random() < 0.5:  # two ways to go on, of which either may be taken at any time
                seen += grown[lease.job_id]
            elif grown:
                seen += await broker.read(lease.job_id, cursor, limit=chance.randint(1, 4))
            cursor = seen[-1].id if seen else cursor
        await writing
        assert seen == await broker.read(lease.job_id, limit=100)
        assert [logged.event.index for logged in seen if isinstance(logged.event, PatchEvent)] == list(range(60))

    async def test_a_cursor_in_the_future_reads_nothing(self, broker: Broker, new_job: NewJob) -> None:
        job = new_job()
        await broker.submit(job, TOTAL)
        assert await broker.read(job.id, "9999999999999999-7") == []

    @pytest.mark.parametrize(
        "cursor",
        [
            "",
            "x",
            "-1",
            "1-",
            "1-2-3",
            "1 ",
            "\u0661",
            "+",
            "$",
            "(1",
            str(2**64),
            f"{2**64 - 1}-{2**64 - 1}",
            "9" * 99,
        ],
    )
    async def test_a_malformed_cursor_is_refused(self, broker: Broker, new_job: NewJob, cursor: str) -> None:
        job = new_job()
        await broker.submit(job, TOTAL)
        with pytest.raises(ValueError, match="cursor"):
            await broker.read(job.id, cursor)
        with pytest.raises(ValueError, match="cursor"):
            await broker.wait({job.id: cursor}, 0.01)

    async def test_waiting_ends_when_a_watched_log_grows(self, broker: Broker, new_job: NewJob) -> None:
        leases = [await submit_and_take(broker, new_job()) for _ in range(3)]
        cursors = {lease.job_id: (await broker.read(lease.job_id))[-1].id for lease in leases}
        waiting = asyncio.create_task(broker.wait(cursors, 5))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        started = time.monotonic()
        await broker.append(leases[1], [patch(0)])
        assert await waiting == {leases[1].job_id: await broker.read(leases[1].job_id, cursors[leases[1].job_id])}
        assert time.monotonic() - started < 0.9

    async def test_waiting_tells_at_once_of_what_is_there_already(self, broker: Broker, new_job: NewJob) -> None:
        job, other = new_job(), new_job()
        await broker.submit(job, TOTAL)
        await broker.submit(other, TOTAL)
        newest = (await broker.read(other.id))[-1].id
        grown = await broker.wait({job.id: LOG_START, other.id: newest, "nobody": LOG_START}, 5)
        assert grown == {job.id: await broker.read(job.id)}

    @pytest.mark.parametrize("watches", [True, False])
    async def test_waiting_ends_when_time_is_up(self, broker: Broker, new_job: NewJob, watches: bool) -> None:
        job = new_job()
        await broker.submit(job, TOTAL)
        cursors = {job.id: (await broker.read(job.id))[-1].id} if watches else {}
        started = time.monotonic()
        assert await broker.wait(cursors, 0.15) == {}
        assert 0.1 < time.monotonic() - started < 2

    async def test_a_wait_that_is_called_off_disturbs_nobody(self, broker: Broker, new_job: NewJob) -> None:
        lease = await submit_and_take(broker, new_job())
        newest = (await broker.read(lease.job_id))[-1].id
        for turns in range(40):  # called off at every step of the way, from not yet begun to waiting for an answer
            waiting = asyncio.create_task(broker.wait({lease.job_id: newest}, 30))
            for _ in range(turns % 20):
                await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait([waiting], timeout=2)
            assert waiting.cancelled()
        waiting = asyncio.create_task(broker.wait({lease.job_id: newest}, 5))
        [entry_id] = await broker.append(lease, [patch(0)])
        assert list(await waiting) == [lease.job_id]
        assert [logged.id for logged in await broker.read(lease.job_id, newest)] == [entry_id]


class TestWorkers:
    async def test_a_worker_that_falls_silent_is_forgotten(self, broker: Broker, pass_time: PassTime) -> None:
        tiny, other, newer = (model(name, version) for name, version in (("tiny", "1"), ("alps", "1"), ("tiny", "2")))
        assert (await broker.models(), await broker.workers()) == ([], 0)
        await broker.announce("worker-a", [tiny], 0.2)
        await broker.announce("worker-b", [tiny, other, newer], 60)
        assert await broker.models() == [other, tiny, newer]
        assert await broker.workers() == 2
        await pass_time(0.3)
        assert await broker.workers() == 1
        await broker.announce("worker-a", [tiny], 60)
        assert await broker.workers() == 2
        await broker.announce("worker-b", [other], 60)
        assert await broker.models() == [other, tiny]
        await broker.announce("worker-b", [], 0)
        assert (await broker.models(), await broker.workers()) == ([tiny], 1)

    async def test_ping_answers(self, broker: Broker) -> None:
        await broker.ping()


def model(name: str, version: str) -> ModelInfo:
    return ModelInfo(
        name=name,
        version=version,
        description="Landscapes.",
        patch_px=64,
        patch_tokens=8,
        codebook_size=1000,
        extent=(0, 1, 1),
        orders=("omega",),
        parameters=10_000_000,
        licence="Apache-2.0",
    )
