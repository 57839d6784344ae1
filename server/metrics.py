"""Prometheus figures of one gateway. Those of the queue are asked of the broker at every scrape, never counted here."""

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from jobs.broker.base import Broker, LoggedEvent
from jobs.errors import BrokerUnavailable
from jobs.events import PatchEvent

_AWAITED_MAX = 10_000  # jobs whose first patch is still awaited; the oldest are forgotten beyond it


class Metrics:
    """Each app has its own registry, so that two apps in one process do not count for each other.

    Labels hold routes and statuses, never ids, prompts or addresses.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._broker_up = Gauge("nuwa_broker_up", "1 while Redis answers.", registry=self.registry)
        self._waiting = Gauge("nuwa_jobs_waiting", "Jobs that wait for a worker.", registry=self.registry)
        self._workers = Gauge("nuwa_workers", "Workers alive.", registry=self.registry)
        self._subscribers = Gauge("nuwa_stream_subscribers", "Viewers of event streams here.", registry=self.registry)
        self.resumes = Counter(
            "nuwa_stream_resumes", "Streams that went on where an earlier one was cut.", registry=self.registry
        )
        self.submitted_jobs = Counter("nuwa_jobs_submitted", "Jobs accepted by this gateway.", registry=self.registry)
        self._requests = Counter("nuwa_requests", "Answers given.", ["route", "status"], registry=self.registry)
        self._duration = Histogram(
            "nuwa_request_duration_seconds", "Until an answer begins.", ["route"], registry=self.registry
        )
        self._first_patch = Histogram(
            "nuwa_time_to_first_patch_seconds",
            "From accepting a job to its first patch, of jobs submitted and watched here.",
            buckets=(0.25, 0.5, 1, 2, 3, 5, 8, 13, 20, 30, 60, 120, 300, 600),
            registry=self.registry,
        )
        self._awaited: OrderedDict[str, float] = OrderedDict()

    def count_viewers(self, viewers: Callable[[], int]) -> None:
        """Where the number of viewers is to be asked for at every scrape."""
        self._subscribers.set_function(viewers)

    def answered(self, route: str, status: int, seconds: float) -> None:
        self._requests.labels(route, str(status)).inc()
        self._duration.labels(route).observe(seconds)

    def submitted(self, job_id: str) -> None:
        self.submitted_jobs.inc()
        self._awaited[job_id] = time.monotonic()
        if len(self._awaited) > _AWAITED_MAX:
            self._awaited.popitem(last=False)

    def seen(self, job_id: str, events: Sequence[LoggedEvent]) -> None:
        """Events as the reader of feeds.py meets them."""
        if job_id in self._awaited and any(isinstance(logged.event, PatchEvent) for logged in events):
            self._first_patch.observe(time.monotonic() - self._awaited.pop(job_id))

    async def scrape(self, broker: Broker) -> bytes:
        """The text of GET /metrics. Without Redis its figures stay as they last were, and nuwa_broker_up says so."""
        try:
            waiting, workers = await broker.depth(), await broker.workers()
        except BrokerUnavailable:
            self._broker_up.set(0)
        else:
            self._broker_up.set(1)
            self._waiting.set(waiting)
            self._workers.set(workers)
        return generate_latest(self.registry)
