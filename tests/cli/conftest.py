"""`nuwa serve` as a process, with plain tiles in place of the model."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

ROOT = Path(__file__).parents[2]
READY_S = 60  # on a machine that is busy with other things


class Served:
    """A running `nuwa serve`; `said` is what it has printed so far."""

    def __init__(self, data: Path, **environment: str) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("NUWA_", "REDIS_"))}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cli.main", "serve", "--port", "0", "--no-open", "--data", str(data)],
            cwd=ROOT,
            env=kept | {"NUWA_ENGINE": "tile"} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._lines: list[str] = []
        self._reader = threading.Thread(target=lambda: self._lines.extend(self.process.stdout or ()), daemon=True)
        self._reader.start()
        self.url = self.wait_for(lambda: re.search(r"^Ready: (\S+)", self.said, re.MULTILINE), "ready")[1]

    @property
    def said(self) -> str:
        return "".join(self._lines)

    def wait_for(self, look: Callable[[], Any], what: str, seconds: float = READY_S) -> Any:
        """The first true value of look(); an AssertionError with all that was said when there is none in time."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if found := look():
                return found
            time.sleep(0.05)
        raise AssertionError(f"waited in vain until {what}; it said:\n{self.said}")

    def children(self) -> dict[int, str]:
        """Process number and command line of each process that this one started and that lives."""
        listed = subprocess.run(
            ["ps", "-o", "pid=,args=", "--ppid", str(self.process.pid)], capture_output=True, text=True, check=False
        ).stdout
        return {int(pid): args for pid, args in (line.split(maxsplit=1) for line in listed.splitlines())}

    def child(self, words: str) -> int:
        """The process whose command line holds these words."""
        return next(pid for pid, args in self.children().items() if words in args)

    def other_child(self, words: str, known: int) -> bool:
        """Whether a process with these words runs that is not the known one."""
        return any(words in args and pid != known for pid, args in self.children().items())

    def is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def submit(self, **request: object) -> str:
        """Path of a new job."""
        answer = httpx.post(f"{self.url}/generate", json=request)
        assert answer.status_code == httpx.codes.ACCEPTED, answer.text
        return str(answer.headers["Location"])

    def job(self, path: str) -> dict[str, Any]:
        answer: dict[str, Any] = httpx.get(self.url + path).json()
        return answer

    def stop(self, how: signal.Signals = signal.SIGINT) -> int:
        """Ask it to end; its exit status."""
        self.process.send_signal(how)
        status = self.process.wait(timeout=30)
        self._reader.join(timeout=10)
        return status

    def close(self) -> None:
        if self.process.poll() is None:
            self.stop(signal.SIGTERM)
        if self.process.stdout is not None:
            self.process.stdout.close()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """Starts `nuwa serve` on a data folder of this test; all are ended with it."""
    running: list[Served] = []

    def start(**environment: str) -> Served:
        running.append(Served(tmp_path / "data", **environment))
        return running[-1]

    yield start
    for served in running:
        served.close()
