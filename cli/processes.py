"""Worker processes of `nuwa serve`: kept running, and never left behind."""

import asyncio
import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping

FIRST_PAUSE_S = 0.5  # before a worker that ended is started again
LONGEST_PAUSE_S = 30.0
SETTLED_S = 60.0  # a worker that ran this long starts again with the first pause
STOP_S = 20.0  # for finishing the patches in hand and giving jobs back


def _end_with_parent() -> None:
    """Runs in the new process: have Linux end it when `nuwa serve` dies without being able to."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)


async def keep_worker(number: int, environment: Mapping[str, str], say: Callable[[str], None]) -> None:
    """Run `nuwa worker` in a process of its own until cancelled; one that ends by itself is started again, each time later.

    say: told, in a sentence, when a worker ended by itself.
    """
    pause_s = FIRST_PAUSE_S
    while True:
        started = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "cli.main", "worker"),
            env=os.environ | environment,
            stdin=asyncio.subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C reaches `nuwa serve` alone, which then stops workers in order
            preexec_fn=_end_with_parent if sys.platform == "linux" else None,
        )
        try:
            code = await process.wait()
        except asyncio.CancelledError:
            await _stop(process)
            raise
        if time.monotonic() - started > SETTLED_S:
            pause_s = FIRST_PAUSE_S
        how = f"was ended by signal {-code}" if code < 0 else f"ended with exit status {code}"
        say(f"Worker {number} {how}; another starts in {pause_s:g} s and goes on with its jobs.")
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


async def _stop(process: asyncio.subprocess.Process) -> None:
    """Ask a process to end, and make it if it does not."""
    try:
        process.terminate()
        await asyncio.wait_for(process.wait(), STOP_S)
    except ProcessLookupError:
        pass  # ended by itself just now
    except TimeoutError:
        process.kill()
        await process.wait()
