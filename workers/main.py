"""A worker process: settings in, engine and broker built, signals obeyed, jobs drawn. Ends by SIGTERM or SIGINT."""

import asyncio
import contextlib
import logging
import os
import secrets
import signal
import socket

from jobs.broker.base import Broker
from jobs.broker.connect import open_broker
from jobs.errors import BrokerUnavailable, JobNotFound
from jobs.settings import BrokerSettings, WorkerSettings, load_settings
from jobs.store import FolderStore, ResultStore
from workers.engine import Engine
from workers.fits import Scorer
from workers.loop import Worker
from workers.metrics import WorkerMetrics, serve_metrics
from workers.pace import measured_pace
from workers.tile_engine import TileEngine

TILE_DELAY_S = 0.1  # a batch of tiles: slow enough to watch
METRICS_HOST = "127.0.0.1"
FORCED_EXIT = 1
TIDY_EVERY_S = 3600.0

log = logging.getLogger("nuwa.worker")


def run(settings: WorkerSettings, broker_settings: BrokerSettings) -> None:
    """Work until SIGTERM or SIGINT, then finish the patches in hand and give jobs back; a second signal ends at once.

    Raises ValueError when no Redis is named, OSError for a metrics port that is taken, and whatever loading the model
    raises. A Redis that does not answer is waited for.
    """
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True
    )
    asyncio.run(_work(settings, broker_settings, load_engine(settings)))


def load_engine(settings: WorkerSettings) -> Engine:
    """The engine that the settings name. Only the real one imports torch."""
    if settings.engine == "tile":
        return TileEngine(settings.slots, settings.pool_pages, delay_s=TILE_DELAY_S)
    from workers.torch_engine import TorchEngine

    return TorchEngine(
        settings.weights,
        slots=settings.slots,
        pages=settings.pool_pages,
        device=settings.device,
        threads=settings.threads or 1,
        drawing=settings.threads or processors(),
    )


def load_scorer(settings: WorkerSettings) -> Scorer | None:
    """What reads candidates. The tile engine has none: its pictures show nothing, and it does without torch."""
    if settings.engine == "tile":
        return None
    from workers.scorer import PictureScorer

    return PictureScorer()


def processors() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


async def _work(settings: WorkerSettings, broker_settings: BrokerSettings, engine: Engine) -> None:
    broker = open_broker(broker_settings)
    store = FolderStore(settings.results_folder)
    metrics = WorkerMetrics()
    worker = Worker(
        broker,
        store,
        engine,
        name=f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}",
        max_jobs=settings.max_jobs,
        heartbeat_s=broker_settings.heartbeat_s,
        metrics=metrics,
        scorer=load_scorer(settings),
        pace=measured_pace(engine),
        ahead=processors() > 1,
    )
    _obey_signals(worker)
    tidying = asyncio.create_task(_tidy_for_ever(broker, store, broker_settings.job_ttl_s))
    with serve_metrics(metrics, METRICS_HOST, settings.metrics_port):
        log.info("worker %s serves %s with %d slots", worker.name, engine.model.name, engine.slots)
        try:
            await worker.run()
        finally:
            tidying.cancel()
            await broker.close()
    log.info("worker %s has left", worker.name)


async def _tidy_for_ever(broker: Broker, store: ResultStore, older_than_s: float) -> None:
    """Tidy now and every hour."""
    while True:
        try:
            if gone := await tidy(broker, store, older_than_s):
                log.info("deleted %d pictures past their time to live", gone)
        except (OSError, BrokerUnavailable) as error:
            log.warning("old pictures could not be deleted: %s", error)
        await asyncio.sleep(TIDY_EVERY_S)


async def tidy(broker: Broker, store: ResultStore, older_than_s: float) -> int:
    """Delete pictures as old as the time to live whose jobs are gone: a job that waits longer keeps its given one.

    How many there were. Raises OSError, BrokerUnavailable.
    """
    alive = set()
    for job_id in await asyncio.to_thread(store.old, older_than_s):
        with contextlib.suppress(JobNotFound):
            alive.add((await broker.state(job_id)).job.id)
    return await asyncio.to_thread(store.purge, older_than_s, alive)


def _obey_signals(worker: Worker) -> None:
    asked = False

    def leave() -> None:
        nonlocal asked
        if asked:
            log.warning("asked again: leaving at once, leases run out by themselves")
            os._exit(FORCED_EXIT)  # not sys.exit: that would wait for the engine's thread
        asked = True
        log.info("leaving once the patches in hand are done")
        worker.drain()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, leave)


if __name__ == "__main__":
    run(load_settings(WorkerSettings), load_settings(BrokerSettings))
