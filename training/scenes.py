# Endless procedural landscapes: sample scenes, render any crop of them as tensors. The training data of this project.
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from training.attributes import ATTRIBUTE_VALUES, Attributes, sample_attributes
from training.captions import caption, captions
from training.compose import BACK, CLOUD_ROWS, FRONT, LAYERS, NOWHERE, compose
from training.noise import hash01
from training.shapes import below, broadleaf, cloud_profile, cover, edge, fir, ridge, shadow_foot, snow_foot, star_field

__all__ = [
    "ATTRIBUTE_VALUES",
    "Attributes",
    "SceneBatch",
    "around_orb",
    "caption",
    "captions",
    "render",
    "sample_scenes",
]

SUN_SPEED = 0.0015  # canvas heights per second, to the right and down
RIPPLE_SPEED = 1.1  # radians per second
TREE_ROWS = 3  # rows of trees on each layer of land; the last in forests only
TREE_PX = 7  # no tree is drawn smaller
STAR_CELL = 1 / 22  # canvas heights; one star at most in each cell


@dataclass
class SceneBatch:
    """B landscapes as numbers: tensors [B, ...] on one device, and what each shows in words.

    land and clouds: parameter name -> [B, layers] or [B, layers, 3]; numbers: parameter name -> [B] or [B, 3] (sky
    [B, 4, 3]). Lengths are canvas heights, colours [0, 1]. seed: [B] int64, the key of all noise.
    """

    seed: Tensor
    numbers: dict[str, Tensor]
    land: dict[str, Tensor]
    clouds: dict[str, Tensor]
    attributes: list[Attributes]
    tops: list[list[float]]  # y above which a layer shows nothing but trees, kept on the host
    shaded: list[list[bool]]  # whether a layer has shade or snow
    tree_heights: list[list[float]]

    def __len__(self) -> int:
        return len(self.attributes)

    def to(self, device: torch.device | str) -> "SceneBatch":
        """The same scenes on another device."""
        moved = [{k: v.to(device) for k, v in group.items()} for group in (self.numbers, self.land, self.clouds)]
        return replace(self, seed=self.seed.to(device), numbers=moved[0], land=moved[1], clouds=moved[2])


def sample_scenes(
    count: int,
    seed: int,
    *,
    aspect: float = 1.0,
    device: torch.device | str = "cpu",
    attributes: Sequence[Attributes] | None = None,
) -> SceneBatch:
    """Draw `count` scenes; scene i depends on (seed, i, aspect and its attributes) alone, not on count.

    aspect: canvas width / height, so that sun and moon fall within the canvas.  attributes: what each scene shows;
    drawn when None. Raises ValueError when count is below 1 or differs from the number of attributes.
    """
    if count < 1 or (attributes is not None and len(attributes) != count):
        raise ValueError(f"count is {count}, with {None if attributes is None else len(attributes)} attributes given")
    words: list[Attributes] = []
    parts = []
    for i in range(count):
        drawn = sample_attributes(random.Random(f"words {seed} {i}"))
        words.append(drawn if attributes is None else attributes[i])
        parts.append(compose(words[-1], random.Random(f"shapes {seed} {i}"), aspect))
    numbers = {k: _stacked([p[k] for p in parts]) for k in parts[0] if k not in ("land", "clouds")}
    land, clouds = (
        {k: _stacked([[layer[k] for layer in p[name]] for p in parts]) for k in parts[0][name][0]}
        for name in ("land", "clouds")
    )
    keys = torch.tensor([random.Random(f"noise {seed} {i}").getrandbits(31) for i in range(count)])
    _raise_orb(numbers, land, keys)
    return SceneBatch(
        seed=keys,
        numbers=numbers,
        land=land,
        clouds=clouds,
        attributes=words,
        tops=(land["base"] - land["height"] - land["swell"] - land["rough"]).tolist(),
        shaded=((land["shade"] > 0) | (land["snow_line"] > 0)).tolist(),
        tree_heights=(land["tree_height"] * (land["tree_kind"] > 0)).tolist(),
    ).to(device)


def _stacked(values: list[Any]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)


def _layer_keys(seed: Tensor) -> Tensor:
    """[B] -> [B, L, 1]: the noise key of every layer of land."""
    return seed[:, None, None] + 1009 * torch.arange(1, LAYERS + 1, device=seed.device)[None, :, None]


def _raise_orb(numbers: dict[str, Tensor], land: dict[str, Tensor], seed: Tensor) -> None:
    """Sun and moon at most half behind the land that rises below them."""
    x = numbers["orb_x"][:, None, None].expand(-1, LAYERS, -1)
    crest = ridge(x, {k: v[..., None] for k, v in land.items() if v.dim() == 2}, _layer_keys(seed))[0].amin((1, 2))
    radius = numbers["orb_radius"]
    numbers["orb_y"] = torch.maximum(torch.minimum(numbers["orb_y"], crest - 0.15 * radius), radius + 0.03)


class _Canvas:
    """What all drawing steps share: the picture so far [B, 3, h, w], the scenes, and the pixels' world coordinates."""

    def __init__(self, scenes: SceneBatch, size: tuple[int, int], box: tuple[int, int, int, int], time: Tensor) -> None:
        top, left, bottom, right = box
        device = scenes.seed.device
        self.scenes, self.time, self.pixels, self.top = scenes, time, float(size[0]), top
        self.columns = torch.arange(left - 1, right + 1, device=device) + 0.5  # one more on each side, for slopes
        self.rows = torch.arange(top, bottom, device=device) + 0.5
        self.x = (self.columns / self.pixels).expand(len(scenes), -1)  # [B, w + 2]
        self.y = (self.rows / self.pixels)[None, :, None]  # [1, h, 1]
        self.mirrored = self.y
        self.image = torch.zeros(len(scenes), 3, bottom - top, right - left, device=device)

    def number(self, name: str) -> Tensor:
        """A parameter of the scenes, [B, 1, 1] or, a colour, [B, 3, 1, 1]."""
        value = self.scenes.numbers[name]
        return value[:, None, None] if value.dim() == 1 else value[:, :, None, None]

    def row(self, y: float) -> int:
        """The first row of the crop that anything below world height y may touch."""
        return min(max(0, math.floor(y * self.pixels) - 2 - self.top), self.image.shape[2])

    def paint(self, colour: Tensor, alpha: Tensor, first: int = 0) -> None:
        """Lay a colour over the picture from row `first` down. colour: [B, 3, h, w], alpha: [B, h, w], or broadcast."""
        part = self.image[:, :, first:]
        part.lerp_(colour.expand_as(part), alpha[:, None])


def _mirror(c: _Canvas) -> None:
    """Below the water line, world y is read mirrored, broken by ripples: whatever is drawn above appears below."""
    depth = (c.y - c.number("level")).clamp(min=0)
    sea, wind = c.number("sea"), c.number("wind")
    x = c.x[:, None, 1:-1]
    now = c.time[:, None, None] * RIPPLE_SPEED
    phase = torch.log(depth + 0.03) * (17 - 4 * sea)
    bend = 1.3 * torch.sin(x * 7 + phase)
    wave = torch.sin(phase * 1.9 + now + bend) + 0.6 * torch.sin(phase * 3.7 - now * 1.3 + 2 * x)
    ripple = wave * depth * (0.016 + 0.07 * sea) * wind
    c.mirrored = torch.where(depth > 0, c.number("level") - depth * 1.05 - ripple.clamp(min=-0.5), c.y)


def _sky(c: _Canvas) -> None:
    stops = c.scenes.numbers["sky_stops"]
    sky = c.scenes.numbers["sky"][..., None, None]
    colour = sky[:, 0]
    for i in range(3):
        t = ((c.mirrored - stops[:, i, None, None]) / (stops[:, i + 1] - stops[:, i])[:, None, None]).clamp(0, 1)
        colour = torch.lerp(colour, sky[:, i + 1], (t * t * (3 - 2 * t) * 0.5 + t * 0.5)[:, None])
    c.image = colour.expand_as(c.image).clone()


def _stars(c: _Canvas) -> None:
    cell = max(9.0, STAR_CELL * c.pixels)
    alpha, chance = star_field(c.columns[1:-1], c.rows, c.scenes.seed[:, None, None], cell, c.pixels / 500)
    fade = ((c.number("level").clamp(max=0.75) - c.y) / 0.3).clamp(0, 1)
    shown = (chance < c.number("stars")).float() * (c.y < c.number("level"))
    twinkle = 0.85 + 0.15 * torch.sin(chance * 900 + c.time[:, None, None] * 2)
    c.paint(torch.ones_like(c.image[:, :, :1, :1]), alpha * shown * twinkle * (0.25 + 0.75 * fade))


def _orb(c: _Canvas) -> None:
    """Sun or moon with its glow."""
    n = c.number
    moved = c.time[:, None, None] * SUN_SPEED
    dx = c.x[:, None, 1:-1] - n("orb_x") - moved
    dy = c.mirrored - n("orb_y") - moved * 0.5
    distance = torch.sqrt(dx * dx + dy * dy)
    radius = n("orb_radius")
    wide, close = torch.exp(-((distance / 0.42) ** 2)), torch.exp((radius - distance).clamp(max=0) / 0.09)
    c.paint(n("glow_colour"), n("glow") * (0.55 * wide + 0.45 * close))
    rings = sum(cover((radius * size + 0.02 * size - distance) * c.pixels) for size in (1.5, 2.3, 3.3))
    c.paint(n("glow_colour"), rings * n("rings"))
    disc = cover((radius - distance) * c.pixels) * (radius > 0)
    bite_x, bite_y = radius * 0.55 * torch.cos(n("orb_tilt")), radius * 0.55 * torch.sin(n("orb_tilt"))
    bite = torch.sqrt((dx - bite_x) ** 2 + (dy - bite_y) ** 2)
    disc = disc * (1 - n("crescent") * cover((radius * 0.92 - bite) * c.pixels))
    spots = torch.zeros_like(distance)
    for at_x, at_y, size in ((-0.3, -0.25, 0.26), (0.28, 0.12, 0.2), (-0.12, 0.42, 0.15), (0.35, -0.45, 0.12)):
        spot = torch.sqrt((dx - at_x * radius) ** 2 + (dy - at_y * radius) ** 2)
        spots = torch.maximum(spots, cover((size * radius - spot) * c.pixels))
    tone = torch.lerp(n("orb_colour"), n("glow_colour"), (spots * 0.3 * n("is_moon"))[:, None])
    c.paint(tone, disc)


def _clouds(c: _Canvas) -> None:
    for i in range(CLOUD_ROWS):
        p = {k: v[:, i] for k, v in c.scenes.clouds.items()}
        flat = {k: v[:, None] for k, v in p.items() if v.dim() == 1}
        x = c.x - (flat["speed"] * c.time[:, None])
        top, bottom = cloud_profile(x, flat, c.scenes.seed[:, None] + 101 * (i + 1))
        base = flat["base"]
        upper, lower = base - top, base + bottom
        alpha = below(c.mirrored, edge(upper, c.pixels)) - below(c.mirrored, edge(lower, c.pixels))
        alpha = alpha.clamp(min=0) * p["opacity"][:, None, None]
        height = ((base[:, None] - c.mirrored) / p["thickness"][:, None, None]).clamp(0, 1)
        colour = torch.lerp(p["shade"][:, :, None, None], p["colour"][:, :, None, None], height[:, None])
        c.paint(colour, alpha)


def _outlines(c: _Canvas) -> dict[str, Any]:
    """Every curve of the land at once, one value per column: edges of ridges, shade and snow, and the rows of trees."""
    p = {k: v[..., None] for k, v in c.scenes.land.items() if v.dim() == 2}  # [B, L, 1]
    key = _layer_keys(c.scenes.seed)
    x = c.x[:, None, :]
    crest, away, margin = ridge(x.expand(-1, LAYERS, -1), p, key)
    lines: dict[str, Any] = {"crest": edge(crest, c.pixels)}
    lines["shade"] = edge(shadow_foot(x, crest, away, margin, p, key), c.pixels)
    lines["snow"] = edge(snow_foot(x, crest, p, key), c.pixels)
    if any(a.trees != "none" for a in c.scenes.attributes):
        lines["trees"] = _tree_rows(c, {k: v[..., None] for k, v in p.items()}, key[..., None])
    return lines


def _tree_rows(c: _Canvas, p: dict[str, Tensor], key: Tensor) -> dict[str, Tensor]:
    """Which tree each column belongs to, for every row of trees: [B, L, rows, w] each. p: [B, L, 1, 1]."""
    rows = TREE_ROWS if any(a.terrain == "forest" for a in c.scenes.attributes) else TREE_ROWS - 1
    row = torch.arange(rows, device=c.x.device)[None, None, :, None]
    x = c.x[:, None, None, 1:-1]
    size = p["tree_height"].clamp(min=TREE_PX / c.pixels) * (1 + 0.1 * row)
    spacing = size * torch.where(p["tree_kind"] == 1, 0.54, 0.95)  # no tree leaves its cell
    shift = 0.5 * row - 0.17 * (row == 2)
    cell = torch.floor(x / spacing + shift)
    index, key = cell.to(torch.int64), key + 7 * row
    trunk = (cell + 0.5 + (hash01(index, key, 30) - 0.5) * 0.22 - shift) * spacing
    height = size * (0.62 + 0.38 * hash01(index, key, 31))
    ground = ridge(trunk, p, key - 7 * row)[0] + size * (0.06 + p["tree_drop"] * row)
    stands = (hash01(index, key, 32) < p["tree_density"]) & (p["tree_kind"] > 0) & ((row < 2) | (p["tree_drop"] > 0.2))
    return {
        "ground": torch.where(stands, ground, NOWHERE), "height": height,
        "across": (x - trunk) / height, "which": hash01(index, key, 33),
    }  # fmt: skip


def _layer(c: _Canvas, i: int, lines: dict[str, Any]) -> None:
    """One layer of land: its body fading into haze, then shade and snow on it, then the trees that stand on it."""
    p = {k: v[:, i, None, None] if v.dim() == 2 else v[:, i, :, None, None] for k, v in c.scenes.land.items()}
    first = c.row(min(top[i] for top in c.scenes.tops))
    y = (c.mirrored if i < BACK else c.y)[:, first:]
    if y.shape[1] == 0:
        return
    haze = c.number("haze")
    fade = (((y - p["base"] + p["height"]) / p["fade_depth"]).clamp(0, 1) * p["fade"])[:, None]
    crest = [v[:, i] for v in lines["crest"]]
    if i == LAYERS - FRONT and any(a.terrain == "sea" for a in c.scenes.attributes):
        swash = p["foam"] * (1.3 + 0.7 * torch.sin(c.x[:, None, 1:-1] * 5 + c.time[:, None, None] * 0.8))
        c.paint(p["foam_colour"], below(y + swash, crest) * (p["foam"] > 0), first)
    body = below(y, crest)
    c.paint(torch.lerp(p["colour"], haze, fade), body, first)
    if i >= BACK - 2 and any(a.terrain == "plains" for a in c.scenes.attributes):
        cell = max(5.0, 0.018 * c.pixels)
        key = c.scenes.seed[:, None, None] + i
        dots, chance = star_field(c.columns[1:-1], c.rows[first:], key, cell, c.pixels / 400)
        c.paint(p["flower_colour"], dots * body * (chance < p["flowers"]), first)
    if any(shaded[i] for shaded in c.scenes.shaded):
        snow = below(y, crest) - below(y, [v[:, i] for v in lines["snow"]])
        c.paint(torch.lerp(p["snow_colour"], haze, fade * 0.5), snow.clamp(min=0), first)
        shade = body - below(y, [v[:, i] for v in lines["shade"]])
        c.paint(torch.lerp(p["shade_colour"], haze, fade), shade.clamp(min=0) * p["shade"], first)
    if "trees" in lines:
        _trees(c, i, p, lines["trees"])


def _trees(c: _Canvas, i: int, p: dict[str, Tensor], trees: dict[str, Tensor]) -> None:
    kinds = {a.trees for a in c.scenes.attributes}
    tall = max(h[i] for h in c.scenes.tree_heights)
    if tall == 0:
        return
    tall = max(tall, TREE_PX / c.pixels) * 1.3
    first = c.row(min(top[i] for top in c.scenes.tops) - tall)
    y = (c.mirrored if i < BACK else c.y)[:, first:]
    for row in range(trees["ground"].shape[2]):
        t = {k: v[:, i, row, None, :] for k, v in trees.items()}
        v = (t["ground"] - y) / t["height"]
        u = t["across"]
        if kinds >= {"firs", "broadleaf"}:
            inside = torch.where(p["tree_kind"] == 1, fir(u, v), broadleaf(u, v))
        else:
            inside = fir(u, v) if "firs" in kinds else broadleaf(u, v)
        alpha = cover(torch.minimum(inside, v + 0.2) * t["height"] * c.pixels)
        colour = torch.lerp(p["tree_colour"], p["tree_other"], t["which"][:, None])
        colour = torch.lerp(colour, p["shade_colour"], ((u * p["shade_side"] > 0).float() * 0.2)[:, None])
        c.paint(colour, alpha, first)


def _water(c: _Canvas) -> None:
    n = c.number
    depth = c.y - n("level")
    here = cover(depth * c.pixels)
    depth = depth.clamp(min=0)
    sea = n("sea")
    amount = torch.lerp(0.12 + 0.5 * depth, 0.5 + 0.9 * depth, sea).clamp(max=0.9)
    colour = torch.lerp(n("water_colour"), n("deep_colour"), (depth / 0.4).clamp(0, 1)[:, None])
    c.paint(colour, here * amount)
    # lines of light: rows in perspective, each of dashes; many on the sea, a few on a lake
    x = c.x[:, None, 1:-1]
    where = torch.log(depth + 0.04) * 11
    row = torch.floor(where)
    inside = 1 - ((where - row) * 2 - 1).abs()
    index, key = row.to(torch.int64), c.scenes.seed[:, None, None]
    stretch = 1 / (0.03 + depth * 0.5)
    drift = c.time[:, None, None] * 0.25 * (hash01(index, key, 51) - 0.5)
    along, turn = x * stretch, 2 * torch.pi
    wave = torch.cos(along * 0.55 + hash01(index, key, 50) * turn + drift)
    wave = wave * torch.cos(along * 0.23 + hash01(index, key, 52) * turn - drift)
    path = torch.exp(-(((x - n("orb_x")) / (0.06 + 0.35 * depth)) ** 2)) * (n("glow") > 0)
    threshold = (0.75 - 0.2 * sea) * (1 - path) + 0.05 * path
    thickness_px = c.pixels * (depth + 0.04) / 11
    alpha = cover((wave - threshold) * 5) * ((inside - 0.45) * thickness_px * 0.5).clamp(0, 1)
    c.paint(n("glint_colour"), here * alpha * ((0.2 + 0.12 * sea) * (1 - path) + 0.85 * path))


@torch.no_grad()
def render(
    scenes: SceneBatch,
    canvas_size: tuple[int, int],
    *,
    box: tuple[int, int, int, int] | None = None,
    time: float | Tensor = 0.0,
) -> Tensor:
    """Draw the scenes, or one crop of them, on the device they are on.

    canvas_size: height, width of the whole canvas, px.  box: top, left, bottom, right of the crop, px of that canvas;
    left and right may lie beyond the canvas, the panorama is endless.  time: seconds, one or [B]; clouds, sun and water
    move, the land does not. Returns [B, 3, h, w] float32 in [-1, 1]. Raises ValueError for an empty canvas or box.
    """
    height, width = canvas_size
    box = box or (0, 0, height, width)
    if min(canvas_size) < 1 or box[2] <= box[0] or box[3] <= box[1]:
        raise ValueError(f"nothing to draw: canvas {canvas_size}, box {box}")
    device = scenes.seed.device
    now = time.to(device) if isinstance(time, Tensor) else torch.full((len(scenes),), float(time), device=device)
    c = _Canvas(scenes, canvas_size, box, now)
    wet = any(a.water != "none" for a in scenes.attributes)
    if wet:
        _mirror(c)
    _sky(c)
    if any("stars" in a.celestial for a in scenes.attributes):
        _stars(c)
    _orb(c)
    if any(a.clouds != "clear" for a in scenes.attributes):
        _clouds(c)
    lines = _outlines(c)
    for i in range(BACK):
        _layer(c, i, lines)
    if wet:
        _water(c)
    for i in range(BACK, LAYERS):
        _layer(c, i, lines)
    return (c.image * 2 - 1).clamp(-1, 1)


def around_orb(
    scenes: SceneBatch,
    canvas_size: tuple[int, int],
    box: tuple[int, int, int, int],
    cell: tuple[int, int],
    margin: float,
    time: float = 0.0,
) -> Tensor:
    """Which cells of a crop lie on the sun or moon, or no further from it than the margin.

    canvas_size, box, time: as of render().  cell: height and width in px, of which the sides of the box are multiples.
    margin: share of the canvas's sides.
    Returns [B, h / cell[0], w / cell[1]] bool.
    """
    top, left, bottom, right = box
    rows, columns = (
        (torch.arange(a, b, side) + side / 2) / canvas_size[0]
        for a, b, side in ((top, bottom, cell[0]), (left, right, cell[1]))
    )
    n = {k: scenes.numbers[k].cpu()[:, None, None] for k in ("orb_x", "orb_y", "orb_radius")}
    moved = time * SUN_SPEED
    dx = columns[None, None, :] - n["orb_x"] - moved
    dy = rows[None, :, None] - n["orb_y"] - moved * 0.5
    across = dx.abs() < n["orb_radius"] + margin * canvas_size[1] / canvas_size[0]
    down = dy.abs() < n["orb_radius"] + margin
    return (across & down & (n["orb_radius"] > 0)).to(scenes.seed.device)
