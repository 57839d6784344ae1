"""Many jobs at a time through HTTP and Redis: patches a second, time to first patch, and jobs that come at random.

Jobs come by a Poisson process (fixed seed) at half of what the worker did when 16 were there at once: 40 of them, or as
many as come in 110 seconds, but 10 at least.
"""

import asyncio
import random
import statistics
import time

import httpx

from benchmarks.measure import percentile
from benchmarks.models import SHIPPED
from benchmarks.parts import Bench
from benchmarks.served import Served, served
from benchmarks.viewer import Seen, client, watch

AT_ONCE = (1, 4, 16)
SIZE = (256, 256)
LONE = 5
ARRIVALS, FEWEST_ARRIVALS, ARRIVING_S = 40, 10, 110.0
LOAD = 0.5
GOAL_P95 = 1.3


def measure(bench: Bench) -> None:
    width, height = (128, 128) if bench.quick else SIZE
    at_once, lone, arrivals = (AT_ONCE[:2], 2, 5) if bench.quick else (AT_ONCE, LONE, ARRIVALS)
    bench.total(1 + lone + sum(at_once) + arrivals)
    with served(SHIPPED, max_jobs=max(AT_ONCE)) as service:
        asyncio.run(_measure(bench, service, (width, height), at_once, lone, arrivals))


async def _measure(
    bench: Bench, service: Served, size: tuple[int, int], at_once: tuple[int, ...], lone: int, arrivals: int
) -> None:
    async with client(service.url) as http:
        await _one(bench, http, size, 0)  # nothing is cold from here on
        alone = statistics.median([(await _one(bench, http, size, seed)).seconds for seed in range(lone)])
        bench.row("lone_job", alone, "s", "lower")
        jobs_a_second = 0.0
        for count in at_once:
            seen = await asyncio.gather(*(_one(bench, http, size, seed) for seed in range(count)))
            seconds = max(one.ended for one in seen) - min(one.asked for one in seen)
            jobs_a_second = count / seconds
            patches = sum(len(one.patches) for one in seen)
            bench.row(f"patches_a_second_{count}", patches / seconds, "patches/s", "higher")
            bench.row(f"first_patch_{count}", statistics.median(one.first_patch for one in seen), "s", "lower")
            bench.row(f"per_patch_{count}", seconds / patches, "s/patch", "lower")
        seen = await _arriving(bench, http, size, LOAD * jobs_a_second, arrivals)
        taken = [one.seconds for one in seen]
        bench.row("arrivals", len(taken), "jobs", "higher")
        bench.row("job_p50_at_half_load", statistics.median(taken), "s", "lower")
        bench.row("job_p95_at_half_load", percentile(taken, 0.95), "s", "lower")
        bench.row("p95_over_lone_job", percentile(taken, 0.95) / alone, "times", "lower", GOAL_P95)


async def _arriving(bench: Bench, http: httpx.AsyncClient, size: tuple[int, int], rate: float, most: int) -> list[Seen]:
    chance, began = random.Random(0), time.monotonic()
    jobs: list[asyncio.Task[Seen]] = []
    while len(jobs) < most and (len(jobs) < FEWEST_ARRIVALS or time.monotonic() - began < ARRIVING_S):
        jobs.append(asyncio.create_task(_one(bench, http, size, seed=len(jobs))))
        await asyncio.sleep(chance.expovariate(rate))
    return await asyncio.gather(*jobs)


async def _one(bench: Bench, http: httpx.AsyncClient, size: tuple[int, int], seed: int) -> Seen:
    seen = await watch(http, *size, seed)
    bench.step()
    return seen
