"""A person's browser, as far as time is concerned: asks for a picture and notes when each event is in hand."""

import asyncio
import re
import time
from dataclasses import dataclass, field

import httpx

from benchmarks.models import PROMPT

SILENCE_S = 60.0  # four pings
LIMIT_S = 120.0  # for a picture


@dataclass(frozen=True)
class Arrival:
    """One event. at: when it was in hand, in seconds since the epoch.  sha256: of its image, if it has one."""

    kind: str
    at: float
    sha256: str = ""


@dataclass
class Seen:
    """One picture. asked: seconds since the epoch."""

    asked: float
    arrivals: list[Arrival] = field(default_factory=list)

    @property
    def patches(self) -> list[Arrival]:
        return [arrival for arrival in self.arrivals if arrival.kind == "patch"]

    @property
    def ended(self) -> float:
        return self.arrivals[-1].at

    @property
    def seconds(self) -> float:
        """From asking to the last event."""
        return self.ended - self.asked

    @property
    def first_patch(self) -> float:
        return self.patches[0].at - self.asked


def client(url: str) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=64)
    return httpx.AsyncClient(base_url=url, timeout=SILENCE_S, limits=limits, trust_env=False)


async def watch(
    http: httpx.AsyncClient, width: int, height: int, seed: int, order: str = "auto", limit_s: float = LIMIT_S
) -> Seen:
    """Ask for a picture and follow it to its end.

    Raises RuntimeError when it does not end well, TimeoutError when it does not end within limit_s.
    """
    body = {"prompt": PROMPT, "width": width, "height": height, "seed": seed, "order": order}
    seen = Seen(time.time())
    kind = sha256 = ""
    asking = http.stream("POST", "/generate", json=body, headers={"Accept": "text/event-stream"})
    async with asyncio.timeout(limit_s), asking as response:
        response.raise_for_status()
        async for line in response.aiter_lines():
            if line.startswith("event: "):
                kind = line.removeprefix("event: ")
            elif line.startswith("data: "):
                found = re.search(r'"sha256":"(\w+)"', line)
                sha256 = found[1] if found else ""
            elif not line and kind:
                seen.arrivals.append(Arrival(kind, time.time(), sha256))
                kind = sha256 = ""
    last = seen.arrivals[-1].kind if seen.arrivals else "nothing"
    if last != "job.finished":
        raise RuntimeError(f"the picture ended with {last}")
    return seen
