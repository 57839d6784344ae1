"""The plots of docs/performance.md, from rows alone."""

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
from PIL import Image

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from benchmarks.rows import Row

Values = Mapping[str, float]
NAMES = {
    "nuwa": "nuwa",
    "transformers_static": "transformers, static cache",
    "transformers_dynamic": "transformers, growing cache",
    "plain_loop": "plain loop (gpt-fast's)",
    "own_pytorch": "nuwa in plain PyTorch",
}
STAGES = ("queue", "decode", "pixels", "encode", "redis", "sse", "rest")


def write_plots(folder: Path, rows: Sequence[Row]) -> dict[str, str]:
    """Draws what there are rows for; file -> what is seen on it."""
    values = {row.name: row.value for row in rows}
    goals = {row.name: row.goal for row in rows if row.goal is not None}
    plots: dict[str, tuple[str, Callable[[Values, Values], bytes]]] = {
        "performance-decode.webp": (
            "Tokens a second beside peers, share of the roofline, gain of the wavefront",
            _decode,
        ),
        "performance-canvas.webp": ("Time of a patch by the number of patches before it", _context),
        "performance-service.webp": ("Where the time of a picture goes, and many jobs at once", _service),
    }
    needed = {
        "performance-decode.webp": ("throughput_tokens", "roofline_share", "wavefront_speedup"),
        "performance-canvas.webp": ("context_nearby",),
        "performance-service.webp": ("service_share", "load_patches"),
    }
    drawn = {}
    for name, (told, draw) in plots.items():
        if all(any(key.startswith(start) for key in values) for start in needed[name]):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(draw(values, goals))
            drawn[name] = told
    return drawn


def _series(values: Values, start: str) -> tuple[list[int], list[float]]:
    """The rows "<start>_<number>", by rising number."""
    found = sorted(
        (int(rest), value)
        for name, value in values.items()
        if (rest := name.removeprefix(start + "_")) != name and rest.isdigit()
    )
    return [number for number, _ in found], [value for _, value in found]


def _decode(values: Values, goals: Values) -> bytes:
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(11, 3.4))
    for who, label in NAMES.items():
        left.plot(*_series(values, f"throughput_tokens_a_second_{who}"), marker="o", markersize=3.5, label=label)
    left.set(
        xlabel="rows",
        ylabel="tokens a second",
        yscale="log",
        xticks=_series(values, "throughput_tokens_a_second_nuwa")[0],
    )
    left.legend(frameon=False, fontsize=7)
    rows, shares = _series(values, "roofline_share")
    middle.bar(range(len(rows)), shares, 0.6)
    middle.plot(range(len(rows)), _series(goals, "roofline_share")[1], "k_", markersize=24, label="goal")
    middle.set_xticks(range(len(rows)), map(str, rows))
    middle.set(xlabel="rows", ylabel="share of the roofline", ylim=(0, 1.1 * max(1.0, *shares)))
    middle.legend(frameon=False, fontsize=7)
    grids = [name.removeprefix("wavefront_speedup_") for name in values if name.startswith("wavefront_speedup_")]
    right.bar(
        range(len(grids)),
        [values[f"wavefront_ideal_{grid}"] for grid in grids],
        0.6,
        alpha=0.25,
        label="were rows free",
    )
    right.bar(range(len(grids)), [values[f"wavefront_speedup_{grid}"] for grid in grids], 0.6, label="one thread")
    shared = [values.get(f"wavefront_shared_out_{grid}", 0.0) for grid in grids]
    right.plot(range(len(grids)), shared, "o", label="one for each processor")
    for place, grid in enumerate(grids):
        if (goal := goals.get(f"wavefront_speedup_{grid}")) is not None:
            right.plot(place, goal, "k_", markersize=24)
    right.set_xticks(range(len(grids)), grids)
    right.set(xlabel="rows x columns of patches", ylabel="wavefront over one at a time")
    right.legend(frameon=False, fontsize=7)
    return _finished(figure, (left, middle, right))


def _context(values: Values, goals: Values) -> bytes:
    figure, axis = plt.subplots(figsize=(6, 3.6))
    counts: list[int] = []
    for start, label in (
        ("context_recomputed", "all patches, encoded again"),
        ("context_cached", "all patches, cached"),
    ):
        counts, seconds = _series(values, start)
        axis.plot(counts, seconds, marker="o", markersize=3.5, label=f"{label} (estimates)")
    ends = (counts[0], counts[-1])
    axis.plot(ends, [values["context_nearby"]] * 2, label="nearby patches only, same loop")
    axis.plot(ends, [values["context_nuwa"]] * 2, label="nearby patches only, nuwa")
    axis.set(xlabel="patches so far", ylabel="seconds for one more", xscale="log", yscale="log")
    axis.legend(frameon=False, fontsize=7)
    return _finished(figure, (axis,))


def _service(values: Values, goals: Values) -> bytes:
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(11, 3.2), width_ratios=(1.3, 1, 1))
    shares = [100 * values[f"service_share_{stage}"] for stage in STAGES]
    left.barh(STAGES, shares)
    for place, share in enumerate(shares):
        left.annotate(f" {share:.1f}", (share, place), va="center", fontsize=7)
    left.invert_yaxis()
    left.set(xlabel="% of a picture's time", xlim=(0, 1.15 * max(shares)))
    for axis, start, label in (
        (middle, "load_patches_a_second", "patches a second"),
        (right, "load_first_patch", "seconds to the first patch"),
    ):
        jobs, figures = _series(values, start)
        axis.plot(jobs, figures, marker="o", markersize=3.5)
        axis.set(xlabel="jobs at once", ylabel=label, ylim=(0, 1.15 * max(figures)), xticks=jobs)
    return _finished(figure, (left, middle, right))


def _finished(figure: "plt.Figure", axes: Sequence[Axes]) -> bytes:
    """WebP with so few colours that it is small, and the same bytes for the same rows."""
    for axis in axes:
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    png, webp = io.BytesIO(), io.BytesIO()
    figure.savefig(png, dpi=130)
    plt.close(figure)
    Image.open(png).convert("RGB").save(webp, "WEBP", quality=85)
    return webp.getvalue()
