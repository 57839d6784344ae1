"""Is a panorama one picture? How far horizon, palette and time of day drift from its left to its right."""

from collections import Counter

import torch
from torch import Tensor

from training.datasets import to_float
from training.evaluation.figures import curves, sheet
from training.evaluation.metrics import bootstrap_interval
from training.evaluation.rows import Figure, Part, Row
from training.evaluation.setting import Setting, held_out_captions

WIDTH, HEIGHT, WINDOW_PX = 2048, 256, 256
BAR = 0.9  # quantile: of generated panoramas not more may drift far than of rendered ones
CAPTIONS_SEED = 2
DRIFTS = {
    "horizon": ("drift of the horizon", "of the height"),
    "palette": ("drift of the palette", "of the range"),
    "time_of_day": ("drift of the time of day", "of the windows"),
}


def measure(setting: Setting) -> Part:
    """Panoramas of 2048x256 beside rendered ones."""
    count = setting.counts.share(5, 3)  # of 25, the 90th percentile would hang on three
    drawn = setting.gallery.draw("panoramas", held_out_captions(count, CAPTIONS_SEED), WIDTH, HEIGHT)
    rendered = setting.rendered(count, WIDTH, HEIGHT, 320_000)[0]
    of_drawn, of_rendered = drifts(setting, drawn), drifts(setting, rendered)
    part = Part([drift_row(name, of_drawn[name], of_rendered[name]) for name in DRIFTS])
    part.figures.append(Figure("panoramas, the first drawn", sheet(drawn[:4], 1)))
    for name, (label, unit) in DRIFTS.items():
        lines = {"drawn": of_drawn[name].tolist(), "rendered": of_rendered[name].tolist()}
        part.figures.append(Figure(f"{label}: each panorama, sorted", curves(lines, "% of the panoramas", unit)))
    return part


def drifts(setting: Setting, panoramas: Tensor) -> dict[str, Tensor]:
    """uint8 [N, 3, H, W] -> for each of DRIFTS [N]."""
    pixels = to_float(panoramas)
    quarter = pixels.shape[-1] // 4
    left, right = pixels[..., :quarter], pixels[..., -quarter:]
    windows = panoramas.unfold(3, WINDOW_PX, WINDOW_PX).permute(0, 3, 1, 2, 4)  # [N, windows, 3, H, 256]
    times = [reading["time_of_day"] for reading in setting.read(windows.flatten(0, 1))]
    each = windows.shape[1]
    return {
        "horizon": (horizon(left) - horizon(right)).abs(),
        "palette": palette_distance(left, right),
        "time_of_day": torch.tensor([disagreement(times[i : i + each]) for i in range(0, len(times), each)]),
    }


def horizon(pixels: Tensor) -> Tensor:
    """Where a picture falls into an upper and a lower part: the row that leaves the least variance of row colours.

    pixels [N, 3, H, W]. Returns [N], shares of the height, from an eighth to seven eighths.
    """
    height = pixels.shape[2]
    rows = pixels.double().mean(3)  # [N, 3, H]
    above = torch.arange(1, height, device=pixels.device)
    upper = rows.cumsum(2)[..., :-1]
    lower = rows.sum(2, keepdim=True) - upper
    apart = (upper / above - lower / (height - above)).square().sum(1) * above * (height - above)  # [N, H - 1]
    inside = (above >= height / 8) & (above <= height * 7 / 8)
    best = apart.masked_fill(~inside, -1).argmax(1)
    return above[best] / height


def palette_distance(a: Tensor, b: Tensor) -> Tensor:
    """How far the colours of one picture must be moved to become those of the other, wherever they are: [N] in [0, 1].

    a, b: [N, 3, H, W] in [-1, 1]. The Wasserstein distance of each channel, and the mean of the three.
    """
    sorted_a, sorted_b = (t.flatten(2).sort(2).values for t in (a, b))
    return (sorted_a - sorted_b).abs().mean((1, 2)) / 2


def disagreement(values: list[str]) -> float:
    """The share of values unlike the most frequent one."""
    return 1 - Counter(values).most_common(1)[0][1] / len(values)


def drift_row(name: str, drawn: Tensor, rendered: Tensor) -> Row:
    """The drift that nine in ten panoramas stay below; the goal is the same of rendered ones."""
    label, unit = DRIFTS[name]

    def bar(values: Tensor) -> float:
        return round(float(values.double().quantile(BAR)), 9)  # as good as rendered ones is met, whatever the last bit

    return Row(
        f"panorama_{name}_drift",
        f"{label}, 90th percentile",
        bar(drawn),
        unit,
        "lower",
        bar(rendered),
        len(drawn),
        bootstrap_interval(drawn, lambda v: bar(torch.from_numpy(v))),
        f"medians: {float(drawn.median()):.3f} drawn, {float(rendered.median()):.3f} of {len(rendered)} rendered",
    )
