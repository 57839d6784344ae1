"""Patience: broker calls are repeated until they are answered, ever more slowly."""

import asyncio
import math
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from prometheus_client import Counter

from jobs.errors import BrokerUnavailable

FIRST_RETRY_S = 0.1
LAST_RETRY_S = 5.0
DRAIN_PATIENCE_S = 5.0  # how long a leaving worker waits for a broker that does not answer
Result = TypeVar("Result")


async def answered(call: Callable[[], Awaitable[Result]], leaving: asyncio.Event, outages: Counter) -> Result:
    """Repeat a call until the broker answers: nothing that was made is thrown away for an outage.

    Once `leaving` is set, raises BrokerUnavailable after DRAIN_PATIENCE_S: another worker makes the same again.
    """
    clock, pause_s, deadline = asyncio.get_running_loop().time, FIRST_RETRY_S, math.inf
    while True:
        try:
            return await call()
        except BrokerUnavailable:
            outages.inc()
            if leaving.is_set():
                deadline = min(deadline, clock() + DRAIN_PATIENCE_S)
            if clock() > deadline:
                raise
        await asyncio.sleep(pause_s * random.uniform(0.5, 1.5))  # jitter: workers must not return all at once
        pause_s = min(2 * pause_s, LAST_RETRY_S)
