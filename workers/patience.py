"""Patience: broker calls are repeated until they are answered, ever more slowly."""

import asyncio
import math
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from prometheus_client import Counter

from jobs.broker.base import Broker, Lease, NewEvent
from jobs.errors import BrokerUnavailable

FIRST_RETRY_S = 0.1
LAST_RETRY_S = 5.0
DRAIN_PATIENCE_S = 5.0  # how long a leaving worker waits for a broker that does not answer
Result = TypeVar("Result")


class PatientBroker:
    """The calls of a broker that a job depends on: none is given up for an outage, since nothing is drawn twice.

    leaving: once it is set, calls raise BrokerUnavailable after DRAIN_PATIENCE_S: another worker makes the same again.
    outages: counts the calls without an answer.
    """

    def __init__(self, broker: Broker, leaving: asyncio.Event, outages: Counter) -> None:
        self._broker = broker
        self._leaving = leaving
        self._outages = outages

    async def append(self, lease: Lease, events: Sequence[NewEvent]) -> None:
        """Raises LeaseLost. Repeating is safe: the broker knows a batch again."""
        if events:
            await self.answered(lambda: self._broker.append(lease, events))

    async def images(self, job_id: str, keys: Sequence[tuple[int, bool]]) -> list[bytes | None]:
        return await self.answered(lambda: self._broker.images(job_id, keys)) if keys else []

    async def answered(self, call: Callable[[], Awaitable[Result]]) -> Result:
        """Repeat a call until the broker answers."""
        clock, pause_s, deadline = asyncio.get_running_loop().time, FIRST_RETRY_S, math.inf
        while True:
            try:
                return await call()
            except BrokerUnavailable:
                self._outages.inc()
                if self._leaving.is_set():
                    deadline = min(deadline, clock() + DRAIN_PATIENCE_S)
                if clock() > deadline:
                    raise
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.5))  # jitter: workers must not return all at once
            pause_s = min(2 * pause_s, LAST_RETRY_S)
