"""The whole thing, running: `nuwa serve` on a free port with its own data folder, ready to draw."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def artifacts() -> Path:
    """Where tests leave what a person may want to look at."""
    folder = ROOT / "test-artifacts"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def serve(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, artifacts: Path
) -> Iterator[Callable[..., str]]:
    """serve(*options) starts `nuwa serve` with these options and gives its address; it ends with the module."""
    log = artifacts / f"{request.module.__name__.rpartition('.')[2].removeprefix('test_')}.log"
    with ExitStack() as running:
        yield lambda *options: running.enter_context(_served(tmp_path_factory.mktemp("data"), log, options))


@contextmanager
def _served(data: Path, log: Path, options: tuple[str, ...]) -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "cli.main", "serve", "--port", "0", "--no-open", "--data", str(data), *options],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "REDIS_URL"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    said: list[str] = []
    reader = threading.Thread(target=lambda: said.extend(process.stdout or ()), daemon=True)
    reader.start()
    try:
        yield _address(process, said)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=30)
        finally:
            process.kill()
            reader.join(timeout=10)
            log.write_text("".join(said))
            process.stdout.close()  # type: ignore[union-attr]


def _address(process: subprocess.Popen[str], said: list[str]) -> str:
    """Wait until the server has said its address and a worker is ready."""
    deadline = time.monotonic() + 120
    url = None
    while time.monotonic() < deadline and process.poll() is None:
        url = url or next((m[0] for m in map(re.compile(r"http://127\.0\.0\.1:\d+").search, list(said)) if m), None)
        if url:
            try:
                if httpx.get(f"{url}/readyz").status_code == 200:
                    return url
            except httpx.TransportError:
                pass  # not listening yet
        time.sleep(0.2)
    raise AssertionError("the server did not become ready:\n" + "".join(said))
