"""A person's browser, as far as time is concerned: asks for a picture and notes when each event is in hand."""

import re
import time
from dataclasses import dataclass, field

import httpx

from benchmarks.models import PROMPT

SILENCE_S = 120.0


@dataclass
class Seen:
    """One picture. Seconds since the epoch."""

    asked: float
    arrivals: list[tuple[str, float, float]] = field(default_factory=list)  # kind, logged (from its id), in hand

    def of(self, kind: str) -> list[float]:
        return [at for seen, _, at in self.arrivals if seen == kind]

    @property
    def seconds(self) -> float:
        """From asking to the last event."""
        return self.arrivals[-1][2] - self.asked

    @property
    def first_patch(self) -> float:
        return self.of("patch")[0] - self.asked


def client(url: str) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=64)
    return httpx.AsyncClient(base_url=url, timeout=SILENCE_S, limits=limits, trust_env=False)


async def watch(http: httpx.AsyncClient, width: int, height: int, seed: int, order: str = "auto") -> Seen:
    """Ask for a picture and follow it to its end. Raises RuntimeError when it does not end well."""
    body = {"prompt": PROMPT, "width": width, "height": height, "seed": seed, "order": order}
    seen = Seen(time.time())
    event_id = kind = ""
    async with http.stream("POST", "/generate", json=body, headers={"Accept": "text/event-stream"}) as response:
        response.raise_for_status()
        async for line in response.aiter_lines():
            if line.startswith("id: "):
                event_id = line.removeprefix("id: ")
            elif line.startswith("event: "):
                kind = line.removeprefix("event: ")
            elif not line and kind:
                seen.arrivals.append((kind, _logged(event_id), time.time()))
                kind = ""
    if not seen.of("job.finished"):
        raise RuntimeError(f"the picture ended with {seen.arrivals[-1][0] if seen.arrivals else 'nothing'}")
    return seen


def _logged(event_id: str) -> float:
    """When Redis wrote the entry: its id begins with milliseconds since the epoch."""
    found = re.match(r"\d+", event_id)
    return int(found[0]) / 1e3 if found else 0.0
