# From words to numbers: what a landscape with given attributes is made of. Plain Python, one scene at a time.
import random
from typing import Any

from training.attributes import Attributes
from training.palettes import GROUNDS, SAND, SNOW, Colour, Palette, mix, sample_palette, shifted, times

BACK, FRONT = 5, 2  # layers of land behind and before the water
LAYERS = BACK + FRONT
CLOUD_ROWS = 4
NOWHERE = 9.0  # y of what a scene does not have: far below every canvas

Layer = dict[str, Any]


def _land(base: float, height: float, length: float, **more: Any) -> Layer:
    layer: Layer = {
        "base": base, "height": height, "length": length, "spread": 1.0, "round_left": 0.0, "round_right": 0.0,
        "swell": 0.0, "swell_length": 1.0, "rough": 0.0, "rough_length": 0.1,
        "shade": 0.0, "shade_side": 1.0, "shade_depth": 1.0, "shade_width": 0.05, "shade_jag": 0.0,
        "snow_line": -NOWHERE, "snow_jag": 0.0, "fade": 0.3, "fade_depth": 0.3,
        "colour": (0.5, 0.5, 0.5), "shade_colour": (0.0, 0.0, 0.0), "snow_colour": (1.0, 1.0, 1.0),
        "tree_kind": 0.0, "tree_height": 0.05, "tree_density": 0.0, "tree_drop": 0.06,
        "tree_colour": (0.0, 0.0, 0.0), "tree_other": (0.0, 0.0, 0.0),
    }  # fmt: skip
    layer.update(more)
    return layer


def _rock(rng: random.Random, base: float, height: float, length: float, **more: Any) -> Layer:
    return _land(base, height, length, spread=rng.uniform(0.85, 1.15), rough=height * rng.uniform(0.1, 0.18),
                 rough_length=length * rng.uniform(0.2, 0.3), round_left=rng.uniform(0, 0.3),
                 round_right=rng.uniform(0, 0.3), shade_depth=rng.uniform(1.3, 2.0),
                 shade_width=length * rng.uniform(0.12, 0.2), shade_jag=0.55, **more)


def _soft(rng: random.Random, base: float, height: float, length: float, **more: Any) -> Layer:
    return _land(base, height, length, spread=rng.uniform(1.1, 1.6), round_left=1.0, round_right=1.0,
                 swell=height * rng.uniform(0.1, 0.4), swell_length=length * rng.uniform(0.8, 1.6), **more)


def _dune(rng: random.Random, base: float, height: float, length: float, flip: bool, **more: Any) -> Layer:
    gentle, steep = rng.uniform(0.5, 0.9), rng.uniform(0.0, 0.3)
    left, right = (steep, gentle) if flip else (gentle, steep)
    return _land(base, height, length, spread=rng.uniform(1.1, 1.5), round_left=left, round_right=right,
                 swell=height * 0.15, swell_length=length * 0.9, shade=0.6, shade_depth=rng.uniform(1.5, 2.5),
                 shade_width=length * rng.uniform(0.3, 0.5), **more)


def _layers(a: Attributes, rng: random.Random, level: float) -> tuple[list[Layer], list[Layer]]:
    """The shapes of the land, far to near: behind the water line `level`, and before it (bottom of the canvas)."""
    u = rng.uniform
    wet = a.water != "none"
    foot = level if wet else u(0.66, 0.74)
    back: list[Layer] = []
    front: list[Layer] = []
    if a.terrain == "mountains":
        tall = u(0.85, 1.15)
        back = [
            _rock(rng, foot - 0.1, u(0.2, 0.3) * tall, u(0.35, 0.6), shade=0.35),
            _rock(rng, foot - 0.02, u(0.36, 0.46) * tall, u(0.5, 0.8), shade=0.6),
            _rock(rng, foot + 0.0, u(0.18, 0.26) * tall, u(0.35, 0.55), shade=0.5),
            _soft(rng, foot + 0.01, u(0.07, 0.12), u(0.4, 0.7)),
            _soft(rng, foot + 0.005, u(0.03, 0.05), u(0.5, 0.9)),
        ]
        if not wet:
            front = [_soft(rng, foot + 0.16, u(0.08, 0.14), u(0.6, 1.0)), _soft(rng, foot + 0.3, u(0.1, 0.16), u(0.7, 1.2))]
    elif a.terrain == "hills":
        back = [_soft(rng, foot - 0.1 + 0.03 * i, u(0.1, 0.2) - 0.012 * i, u(0.5, 0.95)) for i in range(4)]
        back.append(_soft(rng, foot + 0.01, u(0.05, 0.08), u(0.6, 1.0)))
        if not wet:
            front = [_soft(rng, foot + 0.15, u(0.1, 0.15), u(0.7, 1.1)), _soft(rng, foot + 0.29, u(0.12, 0.18), u(0.9, 1.4))]
    elif a.terrain == "dunes":
        flip = rng.random() < 0.5
        top = u(0.56, 0.66)
        back = [_dune(rng, top + 0.06 * i + 0.005 * i * i, u(0.07, 0.15) + 0.01 * i, u(0.5, 0.8) + 0.08 * i, flip) for i in range(5)]
        front = [_dune(rng, top + 0.42, u(0.14, 0.2), u(1.0, 1.5), flip), _dune(rng, top + 0.56, u(0.14, 0.2), u(1.2, 1.8), not flip)]
    elif a.terrain == "forest":
        back = [_rock(rng, foot - 0.12, u(0.12, 0.24), u(0.5, 0.8), shade=0.3)]
        back += [_soft(rng, foot - 0.07 + 0.025 * i, u(0.06, 0.12) - 0.01 * i, u(0.5, 0.9)) for i in range(3)]
        back.append(_soft(rng, foot + 0.01, u(0.02, 0.04), u(0.6, 1.0)))
        if not wet:
            front = [_soft(rng, foot + 0.17, u(0.04, 0.08), u(0.7, 1.1)), _soft(rng, foot + 0.33, u(0.05, 0.1), u(0.8, 1.2))]
    elif a.terrain == "plains":
        foot = level if wet else u(0.58, 0.66)
        back = [
            _soft(rng, foot - 0.015, u(0.05, 0.1), u(0.5, 0.9)),
            _soft(rng, foot, u(0.015, 0.03), u(0.8, 1.2)),
            _soft(rng, foot + (0.0 if wet else 0.03), u(0.01, 0.02), u(0.8, 1.4)),
        ]
        if wet:
            back.append(_soft(rng, foot + 0.005, u(0.012, 0.02), u(0.8, 1.4)))
        else:
            back += [_soft(rng, foot + 0.07, u(0.015, 0.03), u(0.9, 1.6)), _soft(rng, foot + 0.13, u(0.02, 0.04), u(1.0, 1.8))]
            front = [_soft(rng, foot + 0.22, u(0.03, 0.05), u(1.0, 1.8)), _soft(rng, foot + 0.35, u(0.04, 0.07), u(1.2, 2.0))]
    else:
        back = [_rock(rng, foot + 0.015, u(0.04, 0.1), u(0.7, 1.1), shade=0.3)] if rng.random() < 0.6 else []
        if rng.random() < 0.7 or a.trees != "none":
            back.append(_soft(rng, foot + 0.02, u(0.05, 0.12), u(0.7, 1.3)))
    if wet and (a.terrain == "sea" and (rng.random() < 0.5 or a.trees != "none") or a.terrain != "sea" and rng.random() < 0.4):
        front = [_soft(rng, 1.0 + u(0.02, 0.04), u(0.08, 0.14), u(0.9, 1.6))]
    return back, front


def _paint(a: Attributes, rng: random.Random, p: Palette, layers: list[Layer], side: float) -> None:
    """Give every layer its colour: its own in the season, dyed by the light, paler with distance."""
    ground = GROUNDS[a.season]
    haze = mix(p.sky[3], p.sky[2], rng.uniform(0.15, 0.5))
    dye = min(0.95, p.dye + rng.choice((0.0, 0.0, 0.12, 0.25)))
    sand = rng.choice(SAND)
    own = rng.choice((ground.grass, ground.grass, ground.field))
    misty = a.mist == "mist"
    snow = times(SNOW, mix(p.light, (1, 1, 1), 0.45))
    shadow = mix(p.near, p.sky[0], 0.35)
    count = len(layers)
    for i, layer in enumerate(layers):
        nearness = 0.12 + 0.88 * (i + 1) / count if count > 2 else 0.5 + 0.4 * i
        rocky = layer["rough"] > 0
        colour = ground.rock if rocky else mix(ground.grass, own, i % 2)
        if a.terrain == "dunes":
            colour = shifted(sand, 0.0, rng.uniform(-0.03, 0.03))
        elif a.terrain == "plains":
            colour = mix(ground.grass, ground.field, rng.random())
        if not rocky and a.snow == "snow" and (a.season == "winter" or a.terrain != "mountains"):
            colour = mix(SNOW, ground.rock, 0.1 * (i % 3))
        lit = times(colour, p.light)
        lit = mix(lit, p.near, dye * (0.45 + 0.55 * nearness))
        air = 0.8 * (1 - nearness) ** 1.2
        layer["colour"] = mix(lit, haze, air)
        layer["shade_colour"] = mix(mix(lit, shadow, 0.55), haze, air)
        layer["snow_colour"] = mix(snow, haze, air * 0.6)
        layer["shade_side"] = side
        layer["fade"] = (0.75 if misty else 0.32) * (1.0 - 0.6 * nearness)
        layer["fade_depth"] = layer["height"] * (0.9 if misty else 1.2) + 0.03
        if rocky and a.snow == "snow":
            top = layer["base"] - layer["height"]
            layer["snow_line"] = top + layer["height"] * rng.uniform(0.4, 0.6)
            layer["snow_jag"] = layer["height"] * 0.16
        wood = ground.firs if a.trees == "firs" else rng.choice(ground.foliage)
        other = ground.firs if a.trees == "firs" else rng.choice(ground.foliage)
        for name, leaf in (("tree_colour", wood), ("tree_other", shifted(other, 0, -0.04))):
            if a.snow == "snow" and a.season == "winter":
                leaf = mix(leaf, SNOW, 0.18)
            layer[name] = mix(mix(times(leaf, p.light), p.near, min(0.95, dye * (0.55 + 0.5 * nearness))), haze, air * 0.9)


def _plant(a: Attributes, rng: random.Random, layers: list[Layer], wet: bool, back_count: int) -> None:
    if a.trees == "none":
        return
    kind = 1.0 if a.trees == "firs" else 2.0
    size = rng.uniform(0.85, 1.2) * (1.0 if kind == 1.0 else 0.85)
    for i, layer in enumerate(layers):
        near = i / max(1, len(layers) - 1)
        front = i >= back_count
        if a.terrain == "forest":
            if i == 0:
                continue
            height, density = 0.035 + 0.11 * near * near * (0.5 if wet and not front else 1.0), 0.97
        elif a.terrain == "mountains":
            if i < 3:
                continue
            height, density = (0.03 if i == 3 else 0.05) + (0.05 if front else 0.0) * near, rng.choice((0.6, 0.85, 0.95))
        elif a.terrain == "sea":
            height, density = (0.03, 0.5) if not front else (0.13, 0.35)
        else:
            if i == 0:
                continue
            height, density = 0.02 + 0.07 * near * near, rng.choice((0.15, 0.3, 0.5))
        layer.update(tree_kind=kind, tree_height=height * size, tree_density=density)


def _clouds(a: Attributes, rng: random.Random, p: Palette) -> list[Layer]:
    rows: list[Layer] = []
    puffy_day = a.time_of_day in ("morning", "noon") or rng.random() < 0.4
    count = {"clear": 0, "few": 2, "many": 4}[a.clouds]
    for i in range(CLOUD_ROWS):
        puffy = puffy_day and rng.random() < 0.75
        rows.append({
            "base": (0.1 + 0.34 * (i + rng.uniform(0.1, 0.9)) / max(1, count)) if i < count else -NOWHERE,
            "length": rng.uniform(0.55, 0.9) if puffy else rng.uniform(0.8, 1.4),
            "thickness": rng.uniform(0.07, 0.13) if puffy else rng.uniform(0.01, 0.022),
            "puffy": float(puffy), "puff_length": rng.uniform(0.06, 0.1),
            "density": 0.75 if a.clouds == "few" else 0.95,
            "speed": rng.uniform(0.004, 0.012),
            "colour": mix(p.cloud, p.sky[2], 0.12 * i), "shade": mix(p.cloud_shade, p.sky[2], 0.2),
            "opacity": rng.uniform(0.8, 0.95),
        })  # fmt: skip
    return rows


def compose(a: Attributes, rng: random.Random, aspect: float) -> dict[str, Any]:
    """The numbers of one scene, by the field names of SceneBatch; land and clouds as lists of layers."""
    u = rng.uniform
    p = sample_palette(a.time_of_day, rng)
    wet = a.water != "none"
    level = u(0.64, 0.76) if a.water == "lake" else u(0.56, 0.68)
    back, front = _layers(a, rng, level)
    layers = back + front
    orb_x = u(0.16, 0.84)
    _paint(a, rng, p, layers, 1.0 if orb_x < 0.5 else -1.0)
    _plant(a, rng, layers, wet, len(back))
    empty = _land(NOWHERE, 0.0, 1.0)
    land = [dict(empty) for _ in range(BACK - len(back))] + back + front + [dict(empty) for _ in range(FRONT - len(front))]

    low = a.time_of_day in ("dawn", "sunset", "dusk")
    horizon = min(layer["base"] for layer in layers) if layers else level
    has_moon = a.celestial.startswith(("moon", "crescent"))
    radius = u(0.045, 0.075) if a.celestial == "sun" else u(0.035, 0.055)
    y = (horizon - u(0.12, 0.24) if low else u(0.12, 0.26)) - (0.12 if a.terrain == "mountains" and low else 0.0)
    haze = mix(p.sky[3], p.sky[2], 0.3)
    moonlight = mix(p.orb, p.glow, 0.3)
    deep = mix(p.sky[1], p.near, 0.35 + 0.3 * p.dye)
    return {
        "sky": p.sky,
        "sky_stops": (0.0, horizon * 0.38, horizon * 0.72, horizon + 0.02),
        "haze": haze,
        "orb_x": aspect * orb_x, "orb_y": max(radius + 0.04, y),
        "orb_radius": radius if a.celestial == "sun" or has_moon else 0.0,
        "orb_colour": p.orb, "glow_colour": p.glow, "is_moon": float(has_moon),
        "glow": {"sun": u(0.5, 0.85), "none": 0.0, "stars": 0.0}.get(a.celestial, u(0.25, 0.45)),
        "crescent": float(a.celestial.startswith("crescent")),
        "orb_tilt": u(-0.9, 0.3),
        "stars": u(0.35, 0.75) if "stars" in a.celestial else 0.0,
        "level": level if wet else NOWHERE,
        "sea": float(a.water == "sea"), "wind": u(0.5, 1.2),
        "water_colour": mix(mix(p.sky[1], p.sky[3], 0.35), p.near, 0.12), "deep_colour": deep,
        "glint_colour": mix(p.orb if a.celestial == "sun" else moonlight, p.sky[3], 0.25),
        "land": land, "clouds": _clouds(a, rng, p),
    }  # fmt: skip
