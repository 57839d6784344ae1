"""What routes share: the broker, the store and the process's caches. Nothing here has to outlive the process."""

import asyncio
from dataclasses import dataclass, field
from typing import Annotated, cast

from fastapi import Depends, Request

from jobs.broker.base import Broker
from jobs.errors import JobNotFound
from jobs.job import ModelInfo
from jobs.settings import GatewaySettings
from jobs.store import ResultStore, check_job_id
from server.feeds import Feeds
from server.metrics import Metrics

CONVERSIONS = 2  # at a time: large pictures take a core for seconds and several times their size in memory


@dataclass
class Gateway:
    settings: GatewaySettings
    broker: Broker
    store: ResultStore
    feeds: Feeds
    metrics: Metrics
    converting: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(CONVERSIONS))
    _models: list[ModelInfo] = field(default_factory=list)

    async def models(self) -> list[ModelInfo]:
        """What the workers serve, or served when any was last alive: their jobs are accepted while workers restart."""
        self._models = await self.broker.models() or self._models
        return self._models


def _gateway(request: Request) -> Gateway:
    return cast(Gateway, request.app.state.gateway)


def known_id(job_id: str) -> str:
    """Keeps everything that cannot be an id away from Redis and from file names."""
    try:
        return check_job_id(job_id)
    except ValueError:
        raise JobNotFound("There is no such job.") from None


GatewayDep = Annotated[Gateway, Depends(_gateway)]
JobId = Annotated[str, Depends(known_id)]
