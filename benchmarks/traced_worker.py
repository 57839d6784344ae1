"""A worker that notes when each call of its engine, its encoder and its broker began and ended.

`python -m benchmarks.traced_worker FILE`: `nuwa worker`, with one line of JSON in FILE for each call that is over:
{"name", "start", "end", "sha256", "count"}, by the clock on the wall, so that they can be laid beside what a viewer
saw.
"""

import functools
import hashlib
import inspect
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.settings import BrokerSettings, WorkerSettings, load_settings


@dataclass(frozen=True)
class Span:
    """One call. Seconds since the epoch.  sha256, count: of what it returned, if that is bytes, a list."""

    name: str
    start: float
    end: float
    sha256: str = ""
    count: int = 0

    @property
    def seconds(self) -> float:
        return self.end - self.start


def read_spans(file: Path) -> list[Span]:
    return [Span(**json.loads(line)) for line in file.read_text().splitlines()]


def noted(call: Callable[..., Any], name: str, note: Callable[[Span], None]) -> Callable[..., Any]:
    """The call, which says when it has ended well; also one that is awaited."""

    def ended(start: float, returned: object) -> None:
        end = time.time()
        sha256 = hashlib.sha256(returned).hexdigest() if isinstance(returned, bytes) else ""
        note(Span(name, start, end, sha256, len(returned) if isinstance(returned, list) else 0))

    @functools.wraps(call)
    def run(*args: Any, **kwargs: Any) -> Any:
        start = time.time()
        returned = call(*args, **kwargs)
        ended(start, returned)
        return returned

    @functools.wraps(call)
    async def run_awaited(*args: Any, **kwargs: Any) -> Any:
        start = time.time()
        returned = await call(*args, **kwargs)
        ended(start, returned)
        return returned

    return run_awaited if inspect.iscoroutinefunction(call) else run


class Noted:
    """Stands in for an object: all of its methods are noted, as "kind.method"."""

    def __init__(self, inner: object, kind: str, note: Callable[[Span], None]) -> None:
        self._inner, self._kind, self._note = inner, kind, note

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._inner, name)
        return noted(value, f"{self._kind}.{name}", self._note) if inspect.ismethod(value) else value


def main(file: Path) -> None:
    from workers import leased
    from workers import main as worker

    out = file.open("w", buffering=1)

    def note(span: Span) -> None:
        out.write(json.dumps(vars(span)) + "\n")

    load_engine, open_broker = worker.load_engine, worker.open_broker
    worker.load_engine = lambda settings: Noted(load_engine(settings), "engine", note)  # type: ignore[assignment,return-value]
    worker.open_broker = lambda settings: Noted(open_broker(settings), "broker", note)  # type: ignore[assignment,return-value]
    leased.encode_webp = noted(leased.encode_webp, "encode", note)
    worker.run(load_settings(WorkerSettings), load_settings(BrokerSettings))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
