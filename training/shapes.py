# The shapes of a landscape as coverage masks: ridges, trees, clouds, stars. All lengths in canvas heights.
from collections.abc import Sequence

import torch
from torch import Tensor

from training.noise import hash01, jagged, rolling


def cover(distance: Tensor) -> Tensor:
    """Anti-aliased coverage from a signed distance in pixels (positive inside): about one pixel of transition."""
    return (distance + 0.5).clamp(0, 1)


def ridge(x: Tensor, p: dict[str, Tensor], key: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Height profile of layers of land.

    x: [..., w].  p: parameters of the layers, each [..., 1].  key: [..., 1] int64.
    Returns y of the ridge; the offset from the summit that owns each column; and how far, in heights of the layer, that
    summit's flank stands above the next one's (0 in every valley); all [..., w].
    Summits stand one per cell; the highest flank wins. Flanks are straight (rock) to round (hills, dunes).
    """
    cell = torch.floor(x / p["length"])
    best = torch.full_like(x, -1.0)
    second = torch.full_like(x, -1.0)
    offset_x = torch.zeros_like(x)
    for offset in (-2, -1, 0, 1, 2):
        index = cell + offset
        i = index.to(torch.int64)
        centre = (index + 0.5 + (hash01(i, key, 1) - 0.5) * 0.7) * p["length"]
        away = x - centre
        right = away > 0
        reach = p["length"] * p["spread"] * (0.75 + 0.5 * torch.where(right, hash01(i, key, 3), hash01(i, key, 4)))
        u = (away.abs() / reach).clamp(0, 1)
        roundness = torch.where(right, p["round_right"], p["round_left"])
        flank = torch.lerp(1 - u, 0.5 + 0.5 * torch.cos(torch.pi * u), roundness)
        h = (0.4 + 0.6 * hash01(i, key, 2)) * flank
        owns = h > best
        second = torch.maximum(torch.minimum(h, best), second)
        best = torch.maximum(h, best)
        offset_x = torch.where(owns, away, offset_x)
    swell = rolling(x / p["swell_length"], key, 5) * 0.7 + rolling(x / p["swell_length"] * 2.3, key, 6) * 0.3
    f = 1 / p["rough_length"]
    rough = jagged(x * f, key, 7) * 0.5 + jagged(x * f * 2.17, key, 8) * 0.3 + jagged(x * f * 4.61, key, 9) * 0.2
    y = p["base"] - p["height"] * best - p["swell"] * swell - p["rough"] * rough * best.clamp(min=0.25)
    return y, offset_x, best - second.clamp(min=0)


def shadow_foot(x: Tensor, crest: Tensor, away: Tensor, margin: Tensor, p: dict[str, Tensor], key: Tensor) -> Tensor:
    """y down to which the side turned away from the light lies in shade: widest below a summit, nothing in a valley."""
    f = 1 / p["rough_length"]
    fingers = 1 + p["shade_jag"] * (jagged(x * f * 1.7, key, 21) + 0.6 * jagged(x * f * 4.3, key, 22))
    turned = (away * p["shade_side"] / p["shade_width"]).clamp(0, 1)
    return crest + p["height"] * p["shade_depth"] * margin.clamp(max=0.8) * turned * fingers.clamp(min=0.05)


def snow_foot(x: Tensor, crest: Tensor, p: dict[str, Tensor], key: Tensor) -> Tensor:
    """y down to which snow lies: a ragged line that follows the ridge a little."""
    f = 1 / p["rough_length"]
    ragged = 0.6 * jagged(x * f * 2.3, key, 23) + 0.4 * jagged(x * f * 5.9, key, 24)
    return p["snow_line"] + 0.35 * (crest - p["snow_line"]) + p["snow_jag"] * ragged


def fir(u: Tensor, v: Tensor) -> Tensor:
    """Half-width minus |u| of a fir. u: offset from the trunk; v: height above ground; both in tree heights."""
    from_top = 1 - v
    saw = from_top * 5
    tooth = saw - torch.floor(saw)
    half = 0.21 * from_top * (0.6 + 0.5 * tooth)
    half = torch.where(v < 0.1, torch.full_like(v, 0.03), half)
    return torch.minimum(half - u.abs(), from_top)


def broadleaf(u: Tensor, v: Tensor) -> Tensor:
    """Signed distance inside a round tree of three crowns on a trunk, in tree heights."""
    top = 0.27 - torch.sqrt(u * u + (v - 0.71) ** 2)
    side = 0.2 - torch.sqrt((u.abs() - 0.17) ** 2 + (v - 0.5) ** 2)
    trunk = torch.minimum(0.035 - u.abs(), 0.5 - v)
    return torch.maximum(torch.maximum(top, side), trunk)


def cloud_profile(x: Tensor, p: dict[str, Tensor], key: Tensor) -> tuple[Tensor, Tensor]:
    """Thickness of a row of clouds above and below its base line, [B, w] each, 0 where there is no cloud."""
    position = x / p["length"]
    cell = torch.floor(position)
    i = cell.to(torch.int64)
    half = 0.22 + 0.2 * hash01(i, key, 1)
    centre = 0.5 + (hash01(i, key, 2) - 0.5) * (1 - 2 * half)
    u = ((position - cell - centre) / half).abs()
    body = (1 - u * u).clamp(min=0) * (hash01(i, key, 3) < p["density"])
    puffs = torch.zeros_like(x)
    size = p["puff_length"]
    for octave, scale in ((10, 1.0), (20, 0.61)):
        along = x / (size * scale) + octave * 0.37
        c = torch.floor(along)
        for offset in (-1, 0, 1):
            index = (c + offset).to(torch.int64)
            middle = c + offset + 0.5 + 0.4 * (hash01(index, key, octave) - 0.5)
            radius = 0.62 + 0.35 * hash01(index, key, octave + 1)
            arc = torch.sqrt((1 - ((along - middle) / radius) ** 2).clamp(min=0)) * radius
            puffs = torch.maximum(puffs, arc * scale)
    top = p["thickness"] * torch.sqrt(body) * torch.lerp(torch.sqrt(body), puffs * (0.35 + 0.65 * body), p["puffy"])
    bottom = p["thickness"] * body * torch.lerp(torch.full_like(body, 0.8), torch.full_like(body, 0.12), p["puffy"])
    return top, bottom


def per_row(values: Tensor) -> Tensor:
    """[B, w] -> [B, 1, w]: the same for every row of pixels."""
    return values[:, None, :]


def edge(y: Tensor, pixels: float) -> tuple[Tensor, Tensor]:
    """A curve y(x) as an edge to draw: y [..., w] and pixels per canvas height measured across the edge (steep edges
    stay one pixel soft), from y [..., w + 2] with one more column on each side."""
    slope = (y[..., 2:] - y[..., :-2]) * (0.5 * pixels)
    return y[..., 1:-1], pixels / torch.sqrt(1 + slope * slope)


def below(y: Tensor, curve: Sequence[Tensor]) -> Tensor:
    """Coverage of what lies below an edge. y: [B, h, w or 1]; curve: from edge(), [B, w] each."""
    return cover((y - curve[0][:, None, :]) * curve[1][:, None, :])


def star_field(columns: Tensor, rows: Tensor, key: Tensor, cell_px: float, larger: float) -> tuple[Tensor, Tensor]:
    """Sharp dots of one to two pixels, one per cell at most.

    columns, rows: pixel centres [w], [h].  key: [B, 1, 1].  larger: scales the dots, never below one pixel.
    Returns coverage and a random number per dot, [B, h, w].
    """
    cx, cy = torch.floor(columns / cell_px), torch.floor(rows / cell_px)
    ix, iy = (cx - cx[0]).to(torch.int64), (cy - cy[0]).to(torch.int64)
    # one random number per cell, then spread to the pixels of the cell
    wide = cx[0] + torch.arange(int(columns.numel() / cell_px) + 2, device=columns.device)
    high = cy[0] + torch.arange(int(rows.numel() / cell_px) + 2, device=rows.device)
    index = (high.to(torch.int64)[:, None] * 7919 + wide.to(torch.int64)[None, :])[None]
    px = (wide[None, None, :] + 0.2 + 0.6 * hash01(index, key, 1)) * cell_px
    py = (high[None, :, None] + 0.2 + 0.6 * hash01(index, key, 2)) * cell_px
    radius = (0.55 + 0.55 * hash01(index, key, 4) ** 4) * max(1.0, larger)
    table = torch.stack((px, py, radius, hash01(index, key, 3)))
    at_x, at_y, size, chance = table.index_select(2, iy).index_select(3, ix)
    distance = torch.sqrt((columns - at_x).square() + (rows[:, None] - at_y).square())
    return cover(size - distance), chance
