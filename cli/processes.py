"""The processes of `nuwa serve`: kept running, and never left behind."""

import asyncio
import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence

FIRST_PAUSE_S = 0.5  # before a process that ended is started again
LONGEST_PAUSE_S = 30.0
SETTLED_S = 60.0  # one that ran this long starts again after the first pause
STOP_S = 20.0  # for finishing the patches in hand and giving jobs back

_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


async def keep_running(
    name: str, command: Sequence[str], environment: Mapping[str, str], tell: Callable[[str], None]
) -> None:
    """Run `nuwa` with these words in a process of its own until cancelled; when it ends by itself, start it again.

    The pause before that doubles each time. tell: given a sentence whenever the process `name` ended by itself.
    """
    pause_s = FIRST_PAUSE_S
    parent = os.getpid()
    while True:
        started = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "cli.main", *command),
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C reaches `nuwa serve` alone, which then ends the others in order
            preexec_fn=(lambda: _end_with_parent(parent)) if _libc is not None else None,
        )
        try:
            code = await process.wait()
        except asyncio.CancelledError:
            await _stop(process)
            raise
        if time.monotonic() - started > SETTLED_S:
            pause_s = FIRST_PAUSE_S
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
        tell(f"The {name} {how}; it is started again in {pause_s:g} s.")
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


def _end_with_parent(parent: int) -> None:
    """Runs in the new process before its program: Linux sends it SIGTERM when `nuwa serve` dies, however it dies."""
    assert _libc is not None
    pr_set_pdeathsig = 1
    _libc.prctl(pr_set_pdeathsig, signal.SIGTERM)
    if os.getppid() != parent:  # it died before the line above
        os._exit(1)
