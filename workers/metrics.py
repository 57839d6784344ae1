"""WorkerMetrics: what a worker tells Prometheus, on a port of its own."""

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

_DECODE_BUCKETS_S = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100)


class WorkerMetrics:
    """Counters and gauges of one worker, in their own registry so that several workers fit into one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.patches = Counter("nuwa_worker_patches", "Patches drawn and logged", registry=self.registry)
        self.replayed = Counter("nuwa_worker_patches_replayed", "Patches of earlier workers", registry=self.registry)
        self.jobs_ended = Counter("nuwa_worker_jobs_ended", "Jobs let go of", ["how"], registry=self.registry)
        self.engine_errors = Counter("nuwa_worker_engine_errors", "Engine calls that raised", registry=self.registry)
        self.outages = Counter("nuwa_worker_broker_outages", "Broker calls without an answer", registry=self.registry)
        self.jobs_running = Gauge("nuwa_worker_jobs_running", "Jobs under lease", registry=self.registry)
        self.pages = Gauge("nuwa_worker_pool_pages", "Capacity of the context pool", registry=self.registry)
        self.pages_promised = Gauge(
            "nuwa_worker_pool_pages_promised", "Pages that the admitted jobs may hold at most", registry=self.registry
        )
        self.contexts_held = Gauge(
            "nuwa_worker_pool_contexts", "Patches whose contexts are in the pool now", registry=self.registry
        )
        self.decode_seconds = Histogram(
            "nuwa_worker_decode_seconds", "Time of one batch", buckets=_DECODE_BUCKETS_S, registry=self.registry
        )


@contextmanager
def serve_metrics(metrics: WorkerMetrics, host: str, port: int | None) -> Iterator[int | None]:
    """Answer GET /metrics on host:port while the block runs, 0 taking a free port; gives the port.

    Does nothing when port is None. Raises OSError when the port is taken.
    """
    if port is None:
        yield None
        return
    server, thread = start_http_server(port, addr=host, registry=metrics.registry)
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
