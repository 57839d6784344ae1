"""What was measured, for people: a table on the terminal, and docs/performance.md with its plots beside the JSON."""

import ast
import datetime as dt
import os
import platform
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import psutil
from rich.table import Table

from benchmarks.parts import PARTS
from benchmarks.rows import Row, merged, read_rows, write_rows

SIGNS = {"higher": "≥", "lower": "≤"}
MET = {True: "yes", False: "no", None: ""}

HEAD = """# How fast it is

```sh
make bench                                  # all of it, some 12 minutes: best while nothing else runs
make bench ARGS='--only wavefront'          # one part; the others stay as they were
make bench ARGS=--quick                     # does everything work? A small model, figures that mean little
```

This page, [performance.json](performance.json) and the plots are written by that command (`python -m benchmarks`).
The JSON is a list of rows `{name, value, unit, goal, better}`: `better` is `higher` or `lower`, `goal` is what the
figure should reach, or null where it is there to compare with. A name begins with its part.

Parts that compare decoders use random weights of width 384, depth 8, 6 heads and 1,000 codes, patches of 64 tokens and
one thread; one row is a patch without guidance. They take processor time, which on a quiet machine is that of the clock
on the wall. Parts with HTTP in them use the shipped weights as they are served, guidance included, and the clock on the
wall. Everything that is compared runs in one process, in turn, and figures are medians.
"""


@dataclass(frozen=True)
class Machine:
    """Where it was measured. others: share of the processors that was busy before anything began."""

    processor: str
    cores: int
    memory_gb: float
    software: str
    others: float

    def __str__(self) -> str:
        return (
            f"{self.processor}, {self.cores} cores, {self.memory_gb:.0f} GB; {self.software}. "
            f"Before it began, others kept {100 * self.others:.0f} % of the processors busy."
        )


def machine() -> Machine:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    software = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers"))
    software += f", Python {platform.python_version()}, {platform.system()}"
    memory = psutil.virtual_memory().total / 1e9
    return Machine(_processor(), cores, memory, software, psutil.cpu_percent(interval=1.0) / 100)


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.+)", info.read_text()) if info.exists() else None
    return found[1] if found else platform.processor() or platform.machine()


def table(rows: Iterable[Row], failed: Mapping[str, str]) -> Table:
    """For the terminal."""
    shown = Table(caption="\n".join(f"{part} failed: {why}" for part, why in failed.items()))
    for column in ("figure", "value", "", "goal", "met"):
        shown.add_column(column, justify="right" if column in ("value", "goal") else "left")
    for row in rows:
        style = "red" if row.met is False else None
        shown.add_row(row.name, _number(row.value), row.unit, _goal(row), MET[row.met], style=style)
    return shown


def write_report(
    folder: Path, rows: Sequence[Row], ran: Sequence[str], failed: Mapping[str, str], here: Machine, quick: bool
) -> None:
    """performance.json, performance.md and images/performance-*.webp in a folder.

    What an earlier run left there of parts that did not run now is kept.
    """
    from benchmarks.plots import write_plots

    folder.mkdir(parents=True, exist_ok=True)
    rows = merged(read_rows(folder / "performance.json"), rows, ran, PARTS)
    write_rows(folder / "performance.json", rows)
    plots = write_plots(folder / "images", rows)
    (folder / "performance.md").write_text(document(rows, failed, here, plots, quick), encoding="utf-8")


def document(
    rows: Sequence[Row], failed: Mapping[str, str], here: Machine, plots: Mapping[str, str], quick: bool
) -> str:
    """performance.md.  plots: file -> what is seen on it, of those that there are."""
    judged = [row for row in rows if row.goal is not None]
    met = sum(row.met is True for row in judged)
    lines = [HEAD]
    if quick:
        lines.append("**This was a quick run with a small model: the figures mean little.**\n")
    lines.append(f"Last measured on {dt.datetime.now(dt.UTC):%-d %B %Y}: {here}\n")
    lines.append(f"**{met} of {len(judged)} goals are met.**\n")
    lines += [f"**{part} was not measured to its end: {why}**\n" for part, why in failed.items()]
    lines += [f"![{told}](images/{name})\n" for name, told in plots.items()]
    for part in PARTS:
        own = [row for row in rows if row.part == part]
        if own:
            lines += [
                f"## {part.capitalize()}\n",
                f"{_explained(part)}\n",
                "| figure | value | goal | met |",
                "|---|---|---|---|",
            ]
            lines += [
                f"| `{row.name}` | {_number(row.value)} {row.unit} | {_goal(row)} | {MET[row.met]} |" for row in own
            ]
            lines.append("")
    return "\n".join(lines)


def _explained(part: str) -> str:
    """What a part measures: the words at the top of its module."""
    source = Path(__file__).with_name(f"{part}.py").read_text(encoding="utf-8")
    return ast.get_docstring(ast.parse(source)) or ""


def _number(value: float) -> str:
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}" if abs(value) >= 0.0001 or value == 0 else f"{value:.1e}"


def _goal(row: Row) -> str:
    return "" if row.goal is None else f"{SIGNS[row.better]} {_number(row.goal)}"
