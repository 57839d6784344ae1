"""One picture after another through HTTP and Redis: what a person waits for, and which stage takes how long.

The worker notes its calls (traced_worker.py), the viewer when events are in hand; both by the same clock. Stages:

    queue    from the request to the engine learning of the job: accepted, queued, leased
    decode   prompt and tokens
    pixels   tokens to pixels: those of a patch just drawn, and final ones
    encode   pixels to WebP
    redis    what the worker waits for Redis: events appended, cancels read
    sse      from the last append to the last event in the viewer's hands
    rest     when nothing of all this goes on
    overlap  when tokens are drawn while pixels are painted or encoded

A share is that of the time of a picture in which the stage goes on. Tokens have a thread of their own, pixels and their
encoding another, and neither waits for Redis: so shares overlap, and those of one thread say how busy it is.

A patch reaches the viewer from its last token, from its pixels (a finished patch), and from when it is published.

What gateway and Redis take is the whole of it: the same worker draws the same pictures in turn without them, its broker
in its own memory and nobody watching (bare_worker.py).
"""

import asyncio
import math
import statistics
import tempfile
from collections.abc import Iterable
from pathlib import Path

from benchmarks.bare_worker import BareWorker, bare_worker
from benchmarks.measure import percentile
from benchmarks.models import SHIPPED
from benchmarks.parts import Bench
from benchmarks.rows import Better
from benchmarks.served import Served, peak_bytes, served
from benchmarks.traced_worker import Span, read_spans
from benchmarks.viewer import Seen, client, watch

SIZE = (512, 256)
STAGES = {
    "decode": ("engine.start", "engine.decode"),
    "pixels": ("engine.render", "engine.refine"),
    "encode": ("encode",),
    "redis": ("broker.append", "broker.cancel_requested"),
}
PICTURES = 30  # on a shared machine, what gateway and Redis take is anything from 6 to 11 % of five
GOAL_LATENCY_MS = 30.0
GOAL_SHARE = 0.05
MEGABYTE = 1e6


def measure(bench: Bench) -> None:
    pictures, (width, height) = (2, (128, 128)) if bench.quick else (PICTURES, SIZE)
    bench.total(pictures + 1)
    with tempfile.TemporaryDirectory(prefix="nuwa-spans-") as folder:
        spans = Path(folder) / "spans"
        with served(SHIPPED, spans) as service, bare_worker(width, height) as bare:
            asyncio.run(_pictures(bench, service, bare, 1, width, height))  # nothing is cold from here on
            before = _processor_seconds(service)
            seen, alone = asyncio.run(_pictures(bench, service, bare, pictures, width, height))
            after = _processor_seconds(service)
            for name in ("gateway", "worker", "redis"):
                bench.row(f"memory_{name}", peak_bytes(getattr(service, name)) / MEGABYTE, "MB", "lower")
        noted = [span for span in read_spans(spans) if span.start >= seen[0].asked]
    _waiting(bench, seen)
    _stages(bench, seen, noted)
    taken = statistics.median(1 - bare / one.seconds for one, bare in zip(seen, alone, strict=True))
    bench.row("gateway_and_redis", taken, "of the patch rate", "lower", GOAL_SHARE)
    _latencies(bench, seen, noted)
    used = {name: after[name] - before[name] for name in before}
    bench.row("processor_gateway_and_redis", (used["gateway"] + used["redis"]) / sum(used.values()), "of all", "lower")


async def _pictures(
    bench: Bench, service: Served, bare: BareWorker, count: int, width: int, height: int
) -> tuple[list[Seen], list[float]]:
    """What a viewer sees of each picture, and the seconds that it takes a bare worker; in turn."""
    seen, alone = [], []
    async with client(service.url) as http:
        for seed in range(count):
            seen.append(await watch(http, width, height, seed))
            alone.append(await asyncio.to_thread(bare.seconds, seed))
            bench.step()
    return seen, alone


def _processor_seconds(service: Served) -> dict[str, float]:
    """Of each process, all threads, so far."""
    times = {name: getattr(service, name).cpu_times() for name in ("gateway", "worker", "redis")}
    return {name: taken.user + taken.system for name, taken in times.items()}


def _waiting(bench: Bench, seen: list[Seen]) -> None:
    bench.row("first_patch", statistics.median(one.first_patch for one in seen), "s", "lower")
    bench.row("picture", statistics.median(one.seconds for one in seen), "s", "lower")
    per_patch = statistics.median(one.seconds / len(one.patches) for one in seen)
    bench.row("per_patch", per_patch, "s/patch", "lower")
    bench.row("patches_a_second", 1 / per_patch, "patches/s", "higher")


def stage_seconds(one: Seen, spans: list[Span]) -> dict[str, float]:
    """Seconds in which each stage of one picture goes on; `rest`: none; `overlap`: both threads of the engine.

    Raises RuntimeError when the worker noted no call of a stage: then names have changed.
    """
    own = [span for span in spans if one.asked <= span.start <= one.ended]
    stages = {stage: [span for span in own if span.name in names] for stage, names in STAGES.items()}
    if missing := [stage for stage, calls in stages.items() if not calls]:
        raise RuntimeError(f"the worker noted nothing of {', '.join(missing)}")
    first = min(s.start for s in own if s.name == "engine.start")
    last = max(s.end for s in own if s.name == "broker.append")
    stages |= {"queue": [Span("queue", one.asked, first)], "sse": [Span("sse", min(last, one.ended), one.ended)]}
    seconds = {stage: covered(calls) for stage, calls in stages.items()}
    painted = [*stages["pixels"], *stages["encode"]]
    overlap = seconds["decode"] + covered(painted) - covered([*stages["decode"], *painted])
    rest = one.seconds - covered([call for calls in stages.values() for call in calls])
    return seconds | {"rest": max(0.0, rest), "overlap": overlap}


def covered(spans: Iterable[Span]) -> float:
    """Seconds in which at least one of them goes on."""
    seconds, until = 0.0, -math.inf
    for span in sorted(spans, key=lambda span: span.start):
        seconds += max(0.0, span.end - max(span.start, until))
        until = max(until, span.end)
    return seconds


def _stages(bench: Bench, seen: list[Seen], spans: list[Span]) -> None:
    pictures = [stage_seconds(one, spans) for one in seen]
    seconds = {stage: sum(taken[stage] for taken in pictures) for stage in ("queue", *STAGES, "sse", "rest", "overlap")}
    for stage, taken in seconds.items():
        better: Better = "higher" if stage == "overlap" else "lower"
        bench.row(f"share_{stage}", taken / sum(one.seconds for one in seen), "of a picture's time", better)


def _drawn(one: Seen, spans: list[Span]) -> list[float]:
    """When the last token of each patch was there. Patches are shown in the order in which they are drawn."""
    own = [span for span in spans if span.name == "engine.decode" and one.asked <= span.start <= one.ended]
    return [span.end for span in own for _ in range(span.count)]


def _latencies(bench: Bench, seen: list[Seen], spans: list[Span]) -> None:
    """From a patch to the viewer: from its last token, from its pixels, and from when the worker begins to publish."""
    tokens, pixels, published = [], [], []
    for patch, drawn in (known for one in seen for known in zip(one.patches, _drawn(one, spans), strict=True)):
        [encoded] = [s for s in spans if s.sha256 == patch.sha256 and s.name == "encode" and s.end <= patch.at][-1:]
        sent = min(s.start for s in spans if s.name == "broker.append" and s.start >= encoded.end)
        tokens.append(1e3 * (patch.at - drawn))
        pixels.append(1e3 * (patch.at - encoded.start))
        published.append(1e3 * (patch.at - sent))
    bench.row("tokens_to_viewer_p50", statistics.median(tokens), "ms", "lower")
    bench.row("patch_to_viewer_p50", statistics.median(pixels), "ms", "lower", GOAL_LATENCY_MS)
    bench.row("patch_to_viewer_p95", percentile(pixels, 0.95), "ms", "lower")
    bench.row("published_to_viewer_p50", statistics.median(published), "ms", "lower")
