"""Real worker processes on a real Redis: killed, asked to leave, and forced."""

import asyncio
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from canvas.order import ORDERS
from jobs.broker.base import BrokerLimits
from jobs.broker.memory import MemoryBroker
from jobs.broker.redis import RedisBroker
from jobs.events import JobResumed
from jobs.job import JobStatus
from jobs.settings import BrokerSettings, WorkerSettings, load_settings
from workers.main import run, tidy
from workers.metrics import WorkerMetrics, serve_metrics
from workers.tile_engine import TileEngine

ROOT = Path(__file__).parents[2]
StartKillable = Callable[[str], BaseProcess]
StartCommand = Callable[[], subprocess.Popen[bytes]]
pytestmark = [pytest.mark.anyio, pytest.mark.redis, pytest.mark.timeout(300)]


@pytest.fixture
def start_killable(tmp_path: Path) -> Iterator[StartKillable]:
    """Starts worker processes with short leases, forked from one that has imported everything; kills what is left."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["__main__", "workers.main"])
    settings = load_settings(WorkerSettings, engine="tile", slots=1, data=tmp_path)
    limits = {"lease_s": 0.8, "heartbeat_s": 0.2, "max_deliveries": 1000}
    started: list[BaseProcess] = []

    def start(redis_url: str) -> BaseProcess:
        broker_settings = load_settings(BrokerSettings, redis_url=redis_url, **limits)
        process = context.Process(target=run, args=(settings, broker_settings))
        process.start()
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.join()
        process.close()


@pytest.fixture
def start_command(redis_url: str, tmp_path: Path) -> Iterator[StartCommand]:
    """Starts `python -m workers.main` with leases of a minute, one patch at a time; kills what is left."""
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        environment = os.environ | {
            "NUWA_ENGINE": "tile",
            "NUWA_SLOTS": "1",
            "NUWA_DATA": str(tmp_path),
            "NUWA_REDIS_URL": redis_url,
            "NUWA_LEASE_S": "60",
        }
        process = subprocess.Popen([sys.executable, "-m", "workers.main"], cwd=ROOT, env=environment)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


async def test_twenty_sigkills_at_random_patches_change_no_byte(
    bench, redis_url: str, start_killable: StartKillable
) -> None:
    """Four jobs at once, each on its own database; five times each, the worker is killed within its next patches."""

    async def outlive_five(number: int, order: str) -> None:
        dice, job = random.Random(number), bench.job(f"job-{number}", 350, 384, seed=number, order=order, patch_px=64)
        url = f"{redis_url}?db={number}"
        broker = RedisBroker(url, BrokerLimits())
        holder = start_killable(url)
        await bench.submit(broker, job)
        for kill in range(5):
            before = await bench.until(broker, job, lambda state: state.deliveries > kill)  # noqa: B023 - awaited here
            successor = start_killable(url)  # waits already when the holder dies
            enough = before.patches_done + dice.randint(1, 3)
            await bench.until(broker, job, lambda state: state.patches_done >= enough)  # noqa: B023
            await asyncio.sleep(dice.random() * 0.1)  # anywhere within the next patch
            holder.kill()
            holder.join()
            holder = successor
        assert (await broker.state(job.id)).status is JobStatus.RUNNING, "the job outlived all five"
        await bench.until_ended(broker, job)
        resumed = [entry for entry in await bench.read_all(broker, job) if isinstance(entry.event, JobResumed)]
        assert len(resumed) >= 5
        assert await bench.check_finished(broker, job) == await bench.alone(job, TileEngine())
        await broker.close()

    await asyncio.gather(*(outlive_five(number, order) for number, order in enumerate(ORDERS)))


async def test_sigterm_hands_a_job_over_at_once_and_a_second_one_forces(
    bench, redis_url: str, start_command: StartCommand
) -> None:
    """Leases last a minute: only a release lets the successor go on. Then Redis takes no writes: the worker waits."""
    broker, job = RedisBroker(redis_url, BrokerLimits()), bench.job("job", 256, 256, seed=3, patch_px=64)
    first = start_command()
    await bench.submit(broker, job)
    await bench.until(broker, job, lambda state: state.patches_done >= 2)
    second = start_command()
    first.send_signal(signal.SIGTERM)
    assert first.wait(30) == 0
    await bench.until(broker, job, lambda state: state.deliveries == 2)
    done = (await broker.state(job.id)).patches_done
    await bench.until(broker, job, lambda state: state.patches_done > done)
    await broker._redis.execute_command("CLIENT", "PAUSE", "5000", "WRITE")
    second.send_signal(signal.SIGTERM)
    await asyncio.sleep(0.5)
    assert second.poll() is None, "what it has drawn is not in the log yet"
    second.send_signal(signal.SIGTERM)
    assert second.wait(4) == 1
    await broker._redis.execute_command("CLIENT", "UNPAUSE")
    await broker.close()


def test_metrics_are_served_while_the_worker_runs() -> None:
    metrics = WorkerMetrics()
    metrics.patches.inc(3)
    with serve_metrics(metrics, "127.0.0.1", 0) as port, urllib.request.urlopen(f"http://127.0.0.1:{port}") as answer:
        assert b"nuwa_worker_patches_total 3.0" in answer.read()
    with serve_metrics(metrics, "127.0.0.1", None) as port:
        assert port is None


async def test_a_given_picture_lives_as_long_as_its_job_can(bench, limits: BrokerLimits) -> None:
    broker, waiting, done = MemoryBroker(limits), bench.extended("waiting"), bench.extended("done")
    await bench.submit(broker, waiting)
    bench.store.put(done.id, b"png", "given")  # of a job that the broker has forgotten
    for job in (waiting, done):
        os.utime(bench.store.path(job.id, "given"), (0, 0))
    assert await tidy(broker, bench.store, limits.job_ttl_s) == 1
    assert bench.store.get(done.id, "given") is None
    async with bench.working(broker):
        await bench.until_ended(broker, waiting)
    await bench.check_finished(broker, waiting)
