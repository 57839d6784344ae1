"""The service as it runs on one machine: Redis, a gateway and a worker, all processes, for a `with` block."""

import contextlib
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from cli.serve import free_port
from jobs.broker.embedded import EmbeddedRedis
from jobs.settings import variable

HOST = "127.0.0.1"
READY_S = 90.0
STOP_S = 20.0
SAID = 500  # characters of what the processes said last


@dataclass(frozen=True)
class Served:
    """What runs, and where its gateway listens."""

    url: str
    redis: psutil.Process
    gateway: psutil.Process
    worker: psutil.Process


@contextlib.contextmanager
def served(weights: Path, spans: Path | None = None, **settings: object) -> Iterator[Served]:
    """A service that is ready.

    spans: where the worker notes how long its calls take (traced_worker.py).  settings: of jobs/settings.py, by name;
    those of the environment do not count.  Whatever fails inside is raised again as RuntimeError, with what the
    processes said last.
    """
    with tempfile.TemporaryDirectory(prefix="nuwa-bench-") as folder, EmbeddedRedis(Path(folder)) as redis:
        assert redis.pid is not None
        given = {"redis_url": redis.url, "data": folder, "weights": weights, "log_level": "warning", **settings}
        environment = {name: value for name, value in os.environ.items() if not re.match("NUWA_|REDIS_URL", name)}
        environment |= {variable(name): str(value) for name, value in given.items()}
        port = free_port(HOST, 0)
        gateway = ["cli.main", "gateway", "--host", HOST, "--port", str(port)]
        worker = ["cli.main", "worker"] if spans is None else ["benchmarks.traced_worker", str(spans)]
        log = Path(folder) / "log"
        with _running(gateway, environment, log) as g, _running(worker, environment, log) as w:
            url = f"http://{HOST}:{port}"
            try:
                _wait_until_ready(url, (g, w))
                yield Served(url, psutil.Process(redis.pid), psutil.Process(g.pid), psutil.Process(w.pid))
            except Exception as error:
                said = log.read_text(errors="replace")[-SAID:] or "nothing"
                raise RuntimeError(f"{type(error).__name__}: {error}; the processes said {said}") from error


@contextlib.contextmanager
def _running(command: Sequence[str], environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", *command], env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(url: str, processes: Sequence[subprocess.Popen[bytes]]) -> None:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline and all(process.poll() is None for process in processes):
        with contextlib.suppress(httpx.TransportError):  # not listening yet
            if httpx.get(f"{url}/readyz", trust_env=False).status_code == httpx.codes.OK:
                return
        time.sleep(0.1)
    raise TimeoutError("the service did not start")


def peak_bytes(process: psutil.Process) -> int:
    """The most memory that a process ever had resident; where the system does not say, what it has now."""
    with contextlib.suppress(OSError):
        if found := re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text()):
            return 1024 * int(found[1])
    return int(process.memory_info().rss)
