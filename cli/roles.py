"""`nuwa gateway` and `nuwa worker`: one process in one role, on the Redis that the environment names."""

import asyncio
import os
from pathlib import Path

import typer

from cli.console import fail, say
from jobs.broker.connect import open_broker
from jobs.errors import NuwaError
from jobs.settings import BrokerSettings, GatewaySettings, WorkerSettings, load_settings


def broker_settings() -> BrokerSettings:
    """Raises typer.Exit when no Redis is named."""
    settings = load_settings(BrokerSettings)
    if settings.redis_url is None:
        raise fail(
            "REDIS_URL is not set. It names the Redis that gateway and workers share, such as redis://localhost:6379.\n"
            "To run everything on this machine, Redis included: nuwa serve"
        )
    return settings


def run_gateway(host: str | None, port: int | None) -> None:
    """Serve HTTP until SIGINT or SIGTERM."""
    from cli.serve import free_port
    from server.main import run

    broker = broker_settings()
    settings = load_settings(GatewaySettings, host=host, port=port)
    settings = settings.model_copy(update={"port": free_port(settings.host, settings.port)})
    run(settings, broker)


def run_worker(weights: Path | None, engine: str | None) -> None:
    """Draw until SIGINT or SIGTERM."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch loads: an idle thread that spins takes a core
    from workers.main import run

    run(load_settings(WorkerSettings, weights=weights, engine=engine), broker_settings())


def check_worker() -> None:
    """Raises typer.Exit with status 1 unless a worker has announced itself within its time."""

    async def alive() -> int:
        broker = open_broker(broker_settings())
        try:
            return await broker.workers()
        finally:
            await broker.close()

    try:
        count = asyncio.run(alive())
    except NuwaError as error:
        raise fail(f"Redis does not answer: {error}") from None
    if count == 0:
        raise fail("No worker is alive.")
    say(f"Workers alive: {count}")
    raise typer.Exit(0)
