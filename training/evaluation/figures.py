"""Sheets of pictures and curves, as bytes for the report."""

import io
import tempfile
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
from torch import Tensor

from training.datasets import to_float
from training.sheets import save_sheet


def sheet(pictures: Tensor, columns: int) -> bytes:
    """uint8 [N, 3, H, W] -> one picture, row by row."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sheet.webp"
        save_sheet(to_float(pictures), path, columns)
        return path.read_bytes()


def curves(lines: dict[str, Sequence[float]], across: str, up: str) -> bytes:
    """The values of each line, sorted: what share of the pictures lies below what value."""
    figure, axis = plt.subplots(figsize=(5, 3))
    for name, values in lines.items():
        ordered = sorted(values)
        axis.plot([100 * (i + 0.5) / len(ordered) for i in range(len(ordered))], ordered, label=name, linewidth=1.4)
    axis.set_xlabel(across)
    axis.set_ylabel(up)
    axis.legend(frameon=False, fontsize=8)
    axis.grid(alpha=0.25)
    return _finished(figure)


def bars(groups: dict[str, dict[str, float]], up: str) -> bytes:
    """Bars side by side: series name -> {what is on the axis: value}. All series have the same things on the axis."""
    figure, axis = plt.subplots(figsize=(7, 3))
    names = list(next(iter(groups.values())))
    width = 0.8 / len(groups)
    for i, (series, values) in enumerate(groups.items()):
        places = [place + (i - (len(groups) - 1) / 2) * width for place in range(len(names))]
        axis.bar(places, [values[name] for name in names], width, label=series)
    axis.set_xticks(range(len(names)), names, rotation=25, ha="right", fontsize=8)
    axis.set_ylabel(up)
    axis.legend(frameon=False, fontsize=8, ncols=len(groups), loc="lower center", bbox_to_anchor=(0.5, 1))
    axis.grid(alpha=0.25, axis="y")
    return _finished(figure)


def confusions(tables: dict[str, tuple[Sequence[str], Sequence[Sequence[int]]]]) -> bytes:
    """One square for each name -> (values, counts [shown][read]): dark on the diagonal is right."""
    columns = 3
    figure, axes = plt.subplots(-(-len(tables) // columns), columns, figsize=(9, 2.8 * -(-len(tables) // columns)))
    for axis in axes.flat:
        axis.set_visible(False)
    for axis, (name, (values, counts)) in zip(axes.flat, tables.items(), strict=False):
        axis.set_visible(True)
        shares = [[n / max(1, sum(row)) for n in row] for row in counts]
        axis.imshow(shares, cmap="Greens", vmin=0, vmax=1)
        for y, row in enumerate(shares):
            for x, share in enumerate(row):
                if share >= 0.05:
                    colour = "white" if share > 0.6 else "black"
                    axis.text(x, y, f"{100 * share:.0f}", ha="center", va="center", fontsize=6, color=colour)
        axis.set_xticks(range(len(values)), values, rotation=40, ha="right", fontsize=6)
        axis.set_yticks(range(len(values)), values, fontsize=6)
        axis.set_title(name, fontsize=8)
    return _finished(figure)


def _finished(figure: "plt.Figure") -> bytes:
    file = io.BytesIO()
    figure.tight_layout()
    figure.savefig(file, format="png", dpi=120)
    plt.close(figure)
    return file.getvalue()
