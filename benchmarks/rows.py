"""What the benchmarks find: rows of figures beside their goals, and docs/performance.json, a list of them."""

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

Better = Literal["higher", "lower"]


@dataclass(frozen=True)
class Row:
    """One figure. Its name begins with the part that measured it and an underscore: "wavefront_speedup_8x8".

    goal: what the figure should reach, None where it is there to compare with.
    Raises ValueError for a value that is no number: JSON has no word for it.
    """

    name: str
    value: float
    unit: str
    goal: float | None
    better: Better

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise ValueError(f"{self.name} is {self.value}")

    @property
    def part(self) -> str:
        return self.name.partition("_")[0]

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None without one."""
        if self.goal is None:
            return None
        return self.value >= self.goal if self.better == "higher" else self.value <= self.goal


def read_rows(file: Path) -> list[Row]:
    """The rows of an earlier run; none where there is no such file."""
    return [Row(**fields) for fields in json.loads(file.read_text(encoding="utf-8"))] if file.exists() else []


def write_rows(file: Path, rows: Iterable[Row]) -> None:
    """Five significant digits: no figure here is surer than that."""
    fields = [asdict(row) | {"value": float(f"{row.value:.5g}")} for row in rows]
    file.write_text(json.dumps(fields, indent=2) + "\n", encoding="utf-8")


def merged(old: Iterable[Row], new: Iterable[Row], ran: Iterable[str], order: Iterable[str]) -> list[Row]:
    """New rows in place of all old ones of the parts that ran, parts in `order`; rows of unknown parts are dropped.

    A part that ran and failed leaves what it found before that, and nothing of an earlier run.
    """
    again = set(ran)
    kept = [*(row for row in old if row.part not in again), *new]
    return [row for part in order for row in kept if row.part == part]
