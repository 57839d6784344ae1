# From words to numbers: what a landscape with given attributes is made of. Plain Python, one scene at a time.
import random
from typing import Any

from training.attributes import Attributes
from training.palettes import GROUNDS, SAND, SNOW, Palette, mix, rgb, sample_palette, shifted, times

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
        "flowers": 0.0, "flower_colour": (1.0, 1.0, 1.0), "foam": 0.0, "foam_colour": (1.0, 1.0, 1.0),
        "tree_kind": 0.0, "tree_height": 0.05, "tree_density": 0.0, "tree_drop": 0.06,
        "tree_colour": (0.0, 0.0, 0.0), "tree_other": (0.0, 0.0, 0.0),
    }  # fmt: skip
    layer.update(more)
    return layer


def _rock(rng: random.Random, base: float, height: float, length: float, **more: Any) -> Layer:
    return _land(
        base,
        height,
        length,
        spread=rng.uniform(0.85, 1.15),
        rough=height * rng.uniform(0.1, 0.18),
        rough_length=length * rng.uniform(0.2, 0.3),
        round_left=rng.uniform(0, 0.3),
        round_right=rng.uniform(0, 0.3),
        shade_depth=rng.uniform(1.3, 2.0),
        shade_width=length * rng.uniform(0.12, 0.2),
        shade_jag=0.55,
        **more,
    )


def _soft(rng: random.Random, base: float, height: float, length: float, **more: Any) -> Layer:
    return _land(
        base,
        height,
        length,
        spread=rng.uniform(1.1, 1.6),
        round_left=1.0,
        round_right=1.0,
        swell=height * rng.uniform(0.1, 0.4),
        swell_length=length * rng.uniform(0.8, 1.6),
        **more,
    )


def _dune(rng: random.Random, base: float, height: float, length: float, flip: bool, **more: Any) -> Layer:
    gentle, steep = rng.uniform(0.5, 0.9), rng.uniform(0.0, 0.3)
    left, right = (steep, gentle) if flip else (gentle, steep)
    return _land(
        base,
        height,
        length,
        spread=rng.uniform(1.1, 1.5),
        round_left=left,
        round_right=right,
        swell=height * 0.15,
        swell_length=length * 0.9,
        shade=0.6,
        shade_depth=rng.uniform(1.5, 2.5),
        shade_width=length * rng.uniform(0.3, 0.5),
        **more,
    )


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
            front = [
                _soft(rng, foot + 0.16, u(0.08, 0.14), u(0.6, 1.0)),
                _soft(rng, foot + 0.3, u(0.1, 0.16), u(0.7, 1.2)),
            ]
    elif a.terrain == "hills":
        volume = {"shade": u(0.2, 0.45), "shade_depth": u(1.0, 1.8), "shade_width": u(0.2, 0.35)}
        back = [_soft(rng, foot - 0.1 + 0.03 * i, u(0.1, 0.2) - 0.012 * i, u(0.5, 0.95), **volume) for i in range(4)]
        back.append(_soft(rng, foot + 0.01, u(0.05, 0.08), u(0.6, 1.0), **volume))
        if not wet:
            front = [
                _soft(rng, foot + 0.15, u(0.1, 0.15), u(0.7, 1.1), **volume),
                _soft(rng, foot + 0.29, u(0.12, 0.18), u(0.9, 1.4), **volume),
            ]
    elif a.terrain == "dunes":
        flip = rng.random() < 0.5
        top = u(0.56, 0.66)
        back = [
            _dune(rng, top + 0.06 * i + 0.005 * i * i, u(0.07, 0.15) + 0.01 * i, u(0.5, 0.8) + 0.08 * i, flip)
            for i in range(5)
        ]
        front = [
            _dune(rng, top + 0.42, u(0.14, 0.2), u(1.0, 1.5), flip),
            _dune(rng, top + 0.56, u(0.14, 0.2), u(1.2, 1.8), not flip),
        ]
    elif a.terrain == "forest":
        back = [_rock(rng, foot - 0.12, u(0.12, 0.24), u(0.5, 0.8), shade=0.3)]
        back += [_soft(rng, foot - 0.07 + 0.025 * i, u(0.06, 0.12) - 0.01 * i, u(0.5, 0.9)) for i in range(3)]
        back.append(_soft(rng, foot + 0.01, u(0.02, 0.04), u(0.6, 1.0)))
        if not wet:
            front = [
                _soft(rng, foot + 0.17, u(0.04, 0.08), u(0.7, 1.1)),
                _soft(rng, foot + 0.33, u(0.05, 0.1), u(0.8, 1.2)),
            ]
    elif a.terrain == "plains":
        foot = level if wet else u(0.58, 0.66)
        back = [
            _soft(rng, foot - 0.015, u(0.07, 0.13), u(0.5, 0.9), shade=0.3, shade_depth=1.4, shade_width=0.25),
            _soft(rng, foot, u(0.015, 0.03), u(0.8, 1.2)),
            _soft(rng, foot + (0.0 if wet else 0.03), u(0.01, 0.02), u(0.8, 1.4)),
        ]
        if wet:
            back.append(_soft(rng, foot + 0.005, u(0.012, 0.02), u(0.8, 1.4)))
        else:
            back += [
                _soft(rng, foot + 0.07, u(0.015, 0.03), u(0.9, 1.6)),
                _soft(rng, foot + 0.13, u(0.02, 0.04), u(1.0, 1.8)),
            ]
            front = [
                _soft(rng, foot + 0.22, u(0.03, 0.05), u(1.0, 1.8)),
                _soft(rng, foot + 0.35, u(0.04, 0.07), u(1.2, 2.0)),
            ]
    else:
        for shore in rng.choice(
            (("far",), ("far", "island"), ("island",), ("far", "head"), ("head",), ("far", "island", "head"))
        ):
            if shore == "far":  # a pale range along the horizon
                back.append(_rock(rng, foot + 0.01, u(0.05, 0.14), u(0.5, 1.1), shade=0.3))
            elif shore == "island":  # single rocks that rise from the water
                tall = u(0.1, 0.22)
                back.append(_rock(rng, foot + tall * 0.55, tall, u(0.35, 0.6), shade=0.5))
            else:
                back.append(_soft(rng, foot + 0.025, u(0.06, 0.13), u(0.7, 1.3)))
        if a.trees != "none":
            back.append(_soft(rng, foot + 0.015, u(0.03, 0.07), u(0.7, 1.3)))
    if wet and (
        (a.terrain == "sea" and (rng.random() < 0.5 or a.trees != "none"))
        or (a.terrain != "sea" and rng.random() < 0.4)
    ):
        front = [_soft(rng, 1.0 + u(0.02, 0.04), u(0.08, 0.14), u(0.9, 1.6))]
    return back, front


def _paint(a: Attributes, rng: random.Random, p: Palette, layers: list[Layer], side: float) -> None:
    """Give every layer its colour: its own in the season, dyed by the light, paler with distance."""
    ground = GROUNDS[a.season]
    haze = mix(p.sky[3], p.sky[2], rng.uniform(0.15, 0.5))
    near, sand = p.near, rng.choice(SAND)
    if a.terrain == "dunes":  # sand stays warm in its shadows
        near = mix(near, rgb("#8a4426"), 0.75 if a.time_of_day in ("dawn", "morning", "noon") else 0.3)
        haze = mix(haze, times(sand, p.light), 0.45)
    dye = min(0.93, p.dye + rng.choice((0.0, 0.1, 0.2, 0.3)))  # the more, the closer to a print in one ink
    own = rng.choice((ground.grass, ground.grass, ground.field))
    flower = rgb(rng.choice(("#f6d24a", "#f4f1e6", "#e86a6a", "#b58be0", "#f2a0c0")))
    beach = a.trees == "none" and any(y["base"] > 0.98 for y in layers)
    wet = a.water != "none"
    shore = [y for y in layers if y["base"] < 0.95][-1:]
    misty = a.mist == "mist"
    snow = times(SNOW, mix(p.light, (1, 1, 1), 0.45))
    shadow = mix(near, p.sky[0], 0.35)
    count = len(layers)
    for i, layer in enumerate(layers):
        nearness = 0.12 + 0.88 * (i + 1) / count if count > 2 else 0.5 + 0.4 * i
        rocky = layer["rough"] > 0
        colour = ground.rock if rocky else mix(ground.grass, own, i % 2)
        if a.terrain == "dunes":
            colour = shifted(sand, 0.0, rng.uniform(-0.03, 0.03))
        elif a.terrain == "plains":
            colour = mix(ground.grass, ground.field, rng.random())
        white = a.snow == "snow" and not rocky and (a.season == "winter" or a.terrain != "mountains")
        if white:
            colour = mix(SNOW, mix(ground.rock, p.sky[0], 0.5), 0.04 + 0.34 * (1 - nearness) + 0.07 * (i % 2))
        dyed = dye * (0.24 if white else 1.0)  # snow keeps its own light
        lit = times(colour, mix(p.light, (1, 1, 1), 0.6) if white else p.light)
        if a.terrain == "forest" and a.snow == "none" and not rocky:
            lit = mix(lit, times(ground.firs, p.light), 0.45)
        lit = mix(lit, near, dyed * (0.5 + 0.5 * nearness))
        lit = mix(lit, near, (0.06 if white else 0.22) * nearness * nearness)
        air = (0.55 if white else 0.82) * (1 - nearness) ** 1.1
        layer["colour"] = mix(lit, haze, air)
        layer["shade_colour"] = mix(mix(lit, shadow, 0.55), haze, air)
        layer["snow_colour"] = mix(snow, haze, air * 0.6)
        layer["shade_side"] = side
        if a.terrain == "plains" and a.season in ("spring", "summer") and i > 1:
            layer["flowers"] = rng.choice((0.0, 0.25, 0.6))
        layer["flower_colour"] = mix(mix(flower, near, dye * 0.6), haze, air)
        if a.terrain == "sea" and i == count - 1 and beach:
            layer["colour"] = mix(mix(times(sand, p.light), near, dye * 0.7), haze, 0.15)
            layer["foam"], layer["foam_colour"] = 0.005, mix(mix(SNOW, p.glow, 0.2), near, dye * 0.45)
        layer["fade"] = (0.75 if misty else 0.32) * (1.0 - 0.6 * nearness)
        if wet and layer in shore:
            layer["fade"] *= 0.4  # the shore stays clear, so that the water has an edge
        layer["fade_depth"] = layer["height"] * (0.9 if misty else 1.2) + 0.03
        if rocky and a.snow == "snow":
            top = layer["base"] - layer["height"]
            layer["snow_line"] = top + layer["height"] * rng.uniform(0.4, 0.6)
            layer["snow_jag"] = layer["height"] * 0.16
        wood = ground.firs if a.trees == "firs" else rng.choice(ground.foliage)
        other = ground.firs if a.trees == "firs" else rng.choice(ground.foliage)
        for name, leaf in (("tree_colour", wood), ("tree_other", shifted(other, 0, -0.04))):
            if a.snow == "snow" and a.season == "winter":
                leaf = mix(leaf, SNOW, 0.15)
            layer[name] = mix(
                mix(times(leaf, p.light), near, min(0.95, dye * (0.55 + 0.5 * nearness))), haze, air * 0.9
            )


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
            height, density = 0.045 + 0.13 * near * near * (0.45 if wet and not front else 1.0), 0.96
            layer["tree_drop"] = 0.4
        elif a.terrain == "mountains":
            if i < 3:
                continue
            height, density = (
                (0.03 if i == 3 else 0.05) + (0.05 if front else 0.0) * near,
                rng.choice((0.6, 0.85, 0.95)),
            )
        elif a.terrain == "sea":
            if layer["rough"] > 0:
                continue
            height, density = (0.03, 0.5) if not front else (0.13, 0.35)
        else:
            if i == 0:
                continue
            height, density = 0.02 + 0.07 * near * near, rng.choice((0.15, 0.3, 0.5))
        if front and rng.random() < 0.3:  # a few tall trees close by frame the view
            height, density = height * 1.9, min(density, 0.4)
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
    land = (
        [dict(empty) for _ in range(BACK - len(back))] + back + front + [dict(empty) for _ in range(FRONT - len(front))]
    )

    low = a.time_of_day in ("dawn", "sunset", "dusk")
    horizon = min(layer["base"] for layer in layers) if layers else level
    has_moon = a.celestial.startswith(("moon", "crescent"))
    has_orb = has_moon or a.celestial == "sun"
    radius = u(0.045, 0.075) if a.celestial == "sun" else u(0.04, 0.065)
    if low and a.celestial == "sun" and rng.random() < 0.3:
        radius = u(0.1, 0.17)  # the big low sun of old posters
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
        "rings": u(0.08, 0.16) if has_orb and rng.random() < 0.35 else 0.0,
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
