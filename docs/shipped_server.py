"""`nuwa serve` with the shipped weights and a folder of its own, for the scripts that draw what the docs show."""

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def shipped_server() -> Iterator[str]:
    """Its address, as soon as it is ready; it ends with the block. Raises RuntimeError when it ends before."""
    with tempfile.TemporaryDirectory() as data:
        command = [sys.executable, "-m", "cli.main", "serve", "--no-open", "--port", "0", "--data", data]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            yield _address(server)
        finally:
            server.terminate()
            server.wait()


def _address(server: subprocess.Popen[str]) -> str:
    assert server.stdout is not None
    for line in server.stdout:
        if found := re.search(r"Ready: (\S+)", line):
            return found[1]
    raise RuntimeError("the server ended before it was ready")
