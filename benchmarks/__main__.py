"""`python -m benchmarks`: measure this machine, part by part; a table here, docs/performance.* for others.

A part that fails is reported with its error, and the others go on.
"""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch loads, here and in what is started from here

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.parts import PARTS, Failed, Message, Step, Total, run_part
from benchmarks.report import machine, table, write_report
from benchmarks.rows import Row

REPOSITORY = Path(__file__).resolve().parent.parent


def main(
    quick: Annotated[bool, typer.Option(help="A small model and few rounds: does everything work?")] = False,
    only: Annotated[list[str] | None, typer.Option(help=f"One of {', '.join(PARTS)}; may be repeated.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for performance.json, performance.md and images.", show_default="docs; quick: none"),
    ] = None,
) -> None:
    """Measure the decoder and the service on this machine: 10 minutes, best while nothing else runs."""
    parts = tuple(part for part in PARTS if part in (only or PARTS))
    if unknown := sorted({*(only or [])} - {*PARTS}):
        raise typer.BadParameter(f"there is no part {', '.join(unknown)}; parts are {', '.join(PARTS)}")
    here = machine()
    rows, failed = measure_all(parts, quick)
    Console(width=110).print(table(rows, failed))
    if out is not None or not quick:
        write_report(out or REPOSITORY / "docs", rows, parts, failed, here, quick)
    sys.exit(1 if failed else 0)


def measure_all(parts: tuple[str, ...], quick: bool) -> tuple[list[Row], dict[str, str]]:
    """The rows of all parts, and why those that failed did, with a bar for each on standard error."""
    rows: list[Row] = []
    failed: dict[str, str] = {}
    columns = (TextColumn("{task.description:12}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bars = {part: progress.add_task(part, total=None, start=False) for part in parts}
        for part, bar in bars.items():

            def tell(message: Message, part: str = part, bar: int = bar) -> None:
                match message:
                    case Row():
                        rows.append(message)
                    case Total(steps):
                        progress.update(bar, total=steps)
                    case Step():
                        progress.advance(bar)
                    case Failed(why):
                        failed[part] = why

            progress.start_task(bar)
            run_part(part, quick, tell)
            if part in failed:
                progress.console.print(f"{part}: {failed[part]}")
            progress.stop_task(bar)
    return rows, failed


if __name__ == "__main__":
    typer.run(main)
