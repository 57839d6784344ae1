"""A long film through HTTP and Redis: its length must not grow the worker, and it plays while it is drawn.

Small frames with the shipped weights, as they are served. The worker's memory is read as each frame is logged; the film
in fragments is read as a player reads it, and its first frame counts as playable once a decoder gives it.
"""

import asyncio
import io
import json
import time
from dataclasses import dataclass, field

import av
import httpx
import psutil

from benchmarks.models import PROMPT, SHIPPED
from benchmarks.parts import Bench
from benchmarks.served import served
from benchmarks.viewer import client

SIZE = (128, 64)
FRAMES, SETTLED = 600, 20  # memory is compared with that after so many frames
LIMIT_S = 280.0
GOAL_GROWTH, GOAL_FRAMES = 1.02, 3
MEGABYTE = 1e6


@dataclass
class Watched:
    """When each frame was logged (seconds since the epoch), the worker's memory then, and when the first one played."""

    logged: list[float] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    playable: float = float("inf")


def measure(bench: Bench) -> None:
    frames, settled = (12, 4) if bench.quick else (FRAMES, SETTLED)
    bench.total(frames)
    with served(SHIPPED) as service:
        watched = asyncio.run(_film(bench, service.url, service.worker, frames))
    before = sum(at < watched.playable for at in watched.logged)
    bench.row("frames_before_playable", before, "frames", "lower", GOAL_FRAMES)
    bench.row("first_frame_playable", 1000 * (watched.playable - watched.logged[0]), "ms after it is logged", "lower")
    bench.row(f"worker_{settled}_frames", watched.memory[settled - 1] / MEGABYTE, "MB", "lower")
    bench.row(f"worker_{frames}_frames", watched.memory[-1] / MEGABYTE, "MB", "lower")
    growth = max(watched.memory[settled:]) / watched.memory[settled - 1]
    bench.row("worker_growth", growth, f"times {settled} frames", "lower", GOAL_GROWTH)
    bench.row("frames_a_second", (frames - 1) / (watched.logged[-1] - watched.logged[0]), "frames/s", "higher")


async def _film(bench: Bench, url: str, worker: psutil.Process, frames: int) -> Watched:
    width, height = SIZE
    body = {"task": "text_to_video", "prompt": PROMPT, "width": width, "height": height, "frames": frames, "seed": 0}
    watched = Watched()
    async with client(url) as http, asyncio.timeout(LIMIT_S):
        asked = await http.post("/generate", json=body)
        asked.raise_for_status()
        job = asked.json()["id"]
        async with asyncio.TaskGroup() as both:
            both.create_task(_events(bench, http, job, worker, watched))
            both.create_task(_player(http, job, watched))
    return watched


async def _events(bench: Bench, http: httpx.AsyncClient, job: str, worker: psutil.Process, watched: Watched) -> None:
    kind = ""
    async with http.stream("GET", f"/jobs/{job}/events") as response:
        response.raise_for_status()
        async for line in response.aiter_lines():
            if line.startswith("event: "):
                kind = line.removeprefix("event: ")
            elif line.startswith("data: ") and kind == "frame":
                watched.logged.append(time.time())
                watched.memory.append(worker.memory_info().rss)
                bench.step()
            elif line.startswith("data: ") and kind in ("job.failed", "job.canceled"):
                raise RuntimeError(f"the film ended with {kind}: {json.loads(line.removeprefix('data: '))}")


async def _player(http: httpx.AsyncClient, job: str, watched: Watched) -> None:
    """Reads the growing film until it has a frame to show."""
    come = b""
    async with http.stream("GET", f"/jobs/{job}/film") as response:
        response.raise_for_status()
        async for chunk in response.aiter_bytes():
            come += chunk
            if await asyncio.to_thread(_has_frame, come):
                watched.playable = time.time()
                return
    raise RuntimeError("the film ended without a frame to show")


def _has_frame(mp4: bytes) -> bool:
    try:
        with av.open(io.BytesIO(mp4)) as film:
            return next(film.decode(video=0), None) is not None
    except av.FFmpegError:
        return False
