"""Which parts there are, and how one is run: in a process of its own, so that what befalls it is its affair alone."""

import importlib
import multiprocessing
import os
import signal
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection

import psutil

from benchmarks.rows import Better, Row

# The order in which they run and are shown. The module of each has its name, and says what it measures.
PARTS = ("throughput", "guidance", "roofline", "wavefront", "context", "memory", "film", "service", "load", "overhead")
LIMIT_S = 300.0  # for one part; a run of all stays within 12 minutes


@dataclass(frozen=True)
class Total:
    """How many steps a part will take."""

    steps: int


@dataclass(frozen=True)
class Step:
    """One step is done."""


@dataclass(frozen=True)
class Failed:
    """A part has ended without measuring all that it should."""

    why: str


Message = Row | Total | Step | Failed


class Bench:
    """What a part is handed: where its rows and its progress go, and whether to be quick rather than sure."""

    def __init__(self, part: str, quick: bool, tell: Callable[[Message], None]) -> None:
        self.quick = quick
        self._part = part
        self._tell = tell

    def row(self, name: str, value: float, unit: str, better: Better, goal: float | None = None) -> None:
        """One figure; the part's name is put before its own."""
        self._tell(Row(f"{self._part}_{name}", float(value), unit, goal, better))

    def total(self, steps: int) -> None:
        self._tell(Total(steps))

    def step(self) -> None:
        self._tell(Step())


def run_part(
    part: str, quick: bool, tell: Callable[[Message], None], limit_s: float = LIMIT_S, package: str = "benchmarks"
) -> None:
    """Call `measure` of the part's module; all that it says goes to `tell`, and so does how it fails, if it does.

    After limit_s the process and all that it started are ended.
    """
    with tempfile.TemporaryDirectory(prefix="nuwa-bench-", ignore_cleanup_errors=True) as scratch:
        _run(f"{package}.{part}", part, quick, tell, limit_s, scratch)


def _run(module: str, part: str, quick: bool, tell: Callable[[Message], None], limit_s: float, scratch: str) -> None:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(module, part, quick, theirs, scratch))
    process.start()
    theirs.close()
    deadline = time.monotonic() + limit_s
    try:
        while ours.poll(max(0.0, deadline - time.monotonic())):
            try:
                message = ours.recv()
            except EOFError:
                process.join()
                if process.exitcode:
                    tell(Failed(_how_it_ended(process.exitcode)))
                return
            tell(message)
        tell(Failed(f"not done after {limit_s:g} s"))
    finally:
        ours.close()
        if process.pid is not None and process.is_alive():
            _end(process.pid)
        process.join()


def _measure(module: str, part: str, quick: bool, out: Connection, scratch: str) -> None:
    tempfile.tempdir = os.environ["TMPDIR"] = scratch  # goes with it, however it ends
    os.environ |= {
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
    }  # before torch loads: as a worker has it, peers alike
    bench = Bench(part, quick, out.send)
    try:
        importlib.import_module(module).measure(bench)
    except Exception as error:
        traceback.print_exc()
        out.send(Failed(f"{type(error).__name__}: {error}"))
    out.close()


def _how_it_ended(code: int) -> str:
    return f"its process was ended by {signal.Signals(-code).name}" if code < 0 else f"its process ended with {code}"


def _end(pid: int) -> None:
    """A process and all that it started."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for one in [*process.children(recursive=True), process]:
            with suppress(psutil.NoSuchProcess):
                os.kill(one.pid, signal.SIGKILL)
