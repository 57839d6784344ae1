"""The gateway as a process, on a real Redis: it starts, streams, and ends within seconds although someone watches."""

import asyncio
import signal
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
import redis

from jobs.broker.base import LOG_START
from jobs.broker.redis import RedisBroker
from jobs.job import Job, ModelInfo
from jobs.request import GenerateRequest
from server.feeds import Feeds
from server.sse import Pixels

PROGRAM = """
from jobs.settings import BrokerSettings, GatewaySettings
from server.main import run
run(GatewaySettings(), BrokerSettings())
"""


def new_job(job_id: str) -> Job:
    return Job(
        id=job_id,
        request=GenerateRequest(width=16, height=16),
        seed=1,
        order="zeta",
        model="tiny",
        patch_px=16,
        created_at=datetime.now(UTC),
    )


async def announce(url: str) -> None:
    broker = RedisBroker(url)
    model = ModelInfo(
        name="tiny",
        version="1",
        description="",
        patch_px=16,
        patch_tokens=2,
        codebook_size=10,
        extent=(0, 1, 1),
        orders=("zeta",),
        parameters=1,
        licence="Apache-2.0",
    )
    await broker.announce("fake", [model], ttl_s=60)
    await broker.close()


@pytest.mark.redis
@pytest.mark.anyio
async def test_viewers_that_come_one_after_another_leave_few_connections_behind(redis_url: str) -> None:
    broker = RedisBroker(redis_url)
    feeds = Feeds(broker)
    reader = asyncio.create_task(feeds.run())
    kinds: list[bytes] = []

    async def watch(job_id: str) -> None:
        with feeds.watch(job_id) as feed:
            async for frames in feeds.follow(feed, LOG_START, Pixels.INLINE):
                kinds.extend(frames)

    jobs = [f"job{number}" for number in range(20)]
    watching = []
    for job_id in jobs:
        await broker.submit(new_job(job_id), 1)
        watching.append(asyncio.create_task(watch(job_id)))
        await asyncio.sleep(0.03)  # each newcomer interrupts the reader's wait
    with redis.Redis.from_url(redis_url) as client:
        assert len(client.client_list()) < 10
    for job_id in jobs:
        await broker.cancel(job_id)
    await asyncio.wait_for(asyncio.gather(*watching), 20)
    assert len(kinds) == 2 * len(jobs)
    reader.cancel()
    await asyncio.gather(reader, return_exceptions=True)
    await broker.close()


@pytest.mark.redis
@pytest.mark.anyio
async def test_a_gateway_process_streams_from_redis_and_ends_in_time(redis_url: str, tmp_path: Path) -> None:
    await announce(redis_url)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {"NUWA_REDIS_URL": redis_url, "NUWA_PORT": str(port), "NUWA_DATA": str(tmp_path)}
    process = subprocess.Popen([sys.executable, "-c", PROGRAM], env=environment)  # noqa: ASYNC220 - quick enough
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
            deadline = time.monotonic() + 60
            while True:
                try:
                    assert (await client.get("/readyz")).status_code == 200
                    break
                except httpx.TransportError:
                    assert time.monotonic() < deadline
            job = (await client.post("/generate", json={"width": 16, "height": 16})).json()
            refused = await client.get(job["links"]["events"], headers={"Last-Event-ID": "99999999999999999999-0"})
            assert refused.status_code == 400
            async with client.stream("GET", job["links"]["events"]) as answer:
                text = ""
                async for piece in answer.aiter_text():
                    if "job.queued" in text + piece and "job.queued" not in text:
                        process.send_signal(signal.SIGTERM)
                        asked = time.monotonic()
                    text += piece
            assert time.monotonic() - asked < 3  # the stream ended in order: httpx raises for a broken one
        assert process.wait(5) in (0, -signal.SIGTERM)
    finally:
        process.kill()
        process.wait()
