"""A thread in which an engine does its work, one call at a time, while leases are renewed elsewhere."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

from prometheus_client import Counter

from workers.errors import EngineFailed

log = logging.getLogger("nuwa.worker")

Params = ParamSpec("Params")
Result = TypeVar("Result")


class EngineThread:
    """name: of the thread.  errors: counts the calls that failed and were tried again, or given up."""

    def __init__(self, name: str, errors: Counter) -> None:
        self._errors = errors
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)

    async def run(self, call: Callable[Params, Result], *args: Params.args, **kwargs: Params.kwargs) -> Result:
        """Wait for a call's turn and for its result."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, partial(call, *args, **kwargs))

    async def run_or_retry(self, call: Callable[Params, Result], *args: Params.args, **kwargs: Params.kwargs) -> Result:
        """The same; a call that fails is made once more. Raises EngineFailed."""
        try:
            return await self.run(call, *args, **kwargs)
        except Exception:
            self._errors.inc()
            log.exception("an engine call failed, trying it once more")
        try:
            return await self.run(call, *args, **kwargs)
        except Exception as error:
            self._errors.inc()
            raise EngineFailed.because(error) from error

    def add(self, call: Callable[[], object]) -> None:
        """A call after whatever is in line; does not wait for it."""
        self._thread.submit(call)

    def close(self, wait: bool = False) -> None:
        """Take no further calls; those in line are still made.  wait: until they are."""
        self._thread.shutdown(wait=wait)
