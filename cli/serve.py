"""`nuwa serve`: Redis, workers and the gateway on this machine, started, watched and ended together."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
import webbrowser
from collections.abc import Iterator
from pathlib import Path

import httpx

from cli.console import fail, say, warn
from cli.processes import keep_running
from jobs.broker.embedded import EmbeddedRedis
from jobs.settings import BrokerSettings, GatewaySettings, WorkerSettings, load_settings, variable

WATCH_S = 1.0  # how often it is looked whether our Redis still runs


def serve(
    host: str | None,
    port: int | None,
    data: Path | None,
    weights: Path | None,
    engine: str | None,
    workers: int,
    open_page: bool,
) -> None:
    """Run everything until SIGINT or SIGTERM; None takes a setting from the environment, or its default.

    Raises typer.Exit for a port that cannot be had, NuwaError for wrong settings and for a Redis that does not start.
    """
    settings = load_settings(GatewaySettings, host=host, port=port, data=data)
    # A wrong value stops the start here, not in every worker.
    worker_settings = load_settings(WorkerSettings, data=data, weights=weights, engine=engine)
    settings = settings.model_copy(update={"port": free_port(settings.host, settings.port)})
    with redis_for(settings.data) as (redis_url, embedded):
        quiet = {variable("log_level"): "warning"}  # unless asked for more: the terminal is a person's
        environment = (
            quiet
            | os.environ
            | {
                variable("redis_url"): redis_url,
                variable("data"): str(settings.data),
                variable("weights"): str(worker_settings.weights.absolute()),
                variable("engine"): worker_settings.engine,
            }
        )
        asyncio.run(_serve(settings, environment, embedded, workers, open_page))


async def _serve(
    settings: GatewaySettings,
    environment: dict[str, str],
    embedded: EmbeddedRedis | None,
    workers: int,
    open_page: bool,
) -> None:
    stop = asyncio.Event()
    for wish in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(wish, stop.set)
    address = address_of(settings.host, settings.port)
    say(f"Nuwa starts at {address}\nData: {settings.data}\nCtrl-C stops everything.")
    gateway = ("gateway", "--host", settings.host, "--port", str(settings.port))
    async with asyncio.TaskGroup() as tasks:
        kept = [tasks.create_task(keep_running("gateway", gateway, environment, warn))]
        for number in range(1, workers + 1):
            name = "worker" if workers == 1 else f"worker {number}"
            kept.append(tasks.create_task(keep_running(name, ("worker",), environment, warn)))
        kept.append(tasks.create_task(_greet(address, open_page)))
        if embedded is not None:
            kept.append(tasks.create_task(_watch(embedded)))
        await stop.wait()
        say("Stopping. Work in hand is kept, and goes on at the next start.")
        for task in kept:
            task.cancel()


async def _greet(address: str, open_page: bool) -> None:
    """Say, and show, when a picture can be made."""
    async with httpx.AsyncClient(base_url=address, trust_env=False) as client:
        while True:
            with contextlib.suppress(httpx.TransportError):  # not listening yet
                if (await client.get("/readyz")).status_code == httpx.codes.OK:
                    break
            await asyncio.sleep(0.2)
    say(f"Ready: {address}")
    if open_page and has_screen():
        await asyncio.to_thread(webbrowser.open, address)


async def _watch(embedded: EmbeddedRedis) -> None:
    """Start our Redis again if it is gone. In this thread, because it ends with the thread that started it."""
    while True:
        await asyncio.sleep(WATCH_S)
        if embedded.ensure_running():
            warn("Redis had ended and was started again; nothing is lost.")


@contextlib.contextmanager
def redis_for(data: Path) -> Iterator[tuple[str, EmbeddedRedis | None]]:
    """The address of the Redis that the environment names, or else of one that runs for as long as this context."""
    named = load_settings(BrokerSettings).redis_url
    if named is not None:
        yield named.get_secret_value(), None
    else:
        with EmbeddedRedis(data) as embedded:
            yield embedded.url, embedded


def free_port(host: str, port: int) -> int:
    """The port, or for 0 one that is free. Raises typer.Exit, having said what to do, when it cannot be had."""
    try:
        with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as listener:
            return int(listener.getsockname()[1])
    except OSError as error:
        another = port + 1 if port < 65_535 else 8000
        raise fail(
            f"Port {port} of {host} cannot be used: {error.strerror}.\n"
            f"Choose another with --port {another} (make serve PORT={another}); --port 0 takes any that is free."
        ) from None


def address_of(host: str, port: int) -> str:
    """An address that opens in a browser on this machine."""
    if host in ("0.0.0.0", "::"):  # noqa: S104 - compared with, not listened on
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def has_screen() -> bool:
    """Whether a browser would have a window: without one, some systems start a text browser in this very terminal."""
    return sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
