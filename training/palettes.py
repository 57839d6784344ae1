# The colours: hand-picked skies for every time of day, and the colours of the ground in every season.
import colorsys
import random
from dataclasses import dataclass, replace

Colour = tuple[float, float, float]


def rgb(code: str) -> Colour:
    """'#rrggbb' -> three floats in [0, 1]."""
    return int(code[1:3], 16) / 255, int(code[3:5], 16) / 255, int(code[5:7], 16) / 255


def mix(a: Colour, b: Colour, t: float) -> Colour:
    """a at t = 0, b at t = 1."""
    return a[0] + (b[0] - a[0]) * t, a[1] + (b[1] - a[1]) * t, a[2] + (b[2] - a[2]) * t


def times(a: Colour, b: Colour) -> Colour:
    """a seen in light of colour b."""
    return a[0] * b[0], a[1] * b[1], a[2] * b[2]


def shifted(colour: Colour, hue: float, lightness: float = 0.0, saturation: float = 1.0) -> Colour:
    """Turn the hue (1.0 = full circle), add to the lightness and scale the saturation."""
    h, li, s = colorsys.rgb_to_hls(*(min(1.0, max(0.0, c)) for c in colour))
    return colorsys.hls_to_rgb((h + hue) % 1.0, min(1.0, max(0.0, li + lightness)), min(1.0, s * saturation))


@dataclass(frozen=True)
class Palette:
    """One light. sky: zenith to horizon.  near: the colour that the closest land tends to, by `dye` (0 = own colour).
    light: the light's tint on things.  cloud, cloud_shade: lit top and shaded base."""

    sky: tuple[Colour, Colour, Colour, Colour]
    near: Colour
    light: Colour
    dye: float
    orb: Colour
    glow: Colour
    cloud: Colour
    cloud_shade: Colour


def _palette(sky: str, dye: float, rest: str) -> Palette:
    """sky: four colours; rest: near, light, orb, glow, cloud and cloud_shade."""
    a, b, c, d = (rgb(code) for code in sky.split())
    near, light, orb, glow, cloud, shade = (rgb(code) for code in rest.split())
    return Palette((a, b, c, d), near, light, dye, orb, glow, cloud, shade)


PALETTES: dict[str, tuple[Palette, ...]] = {
    "dawn": (
        _palette("#5b6fa8 #9a93c0 #f0b5a6 #ffdcb0", 0.5, "#2f3457 #ffd9c4 #fff6dc #ffd09a #ffe3d3 #c59dbd"),
        _palette("#6a5c9c #b77fae #f2a3a0 #ffd3b4", 0.55, "#3b2b55 #ffd0c8 #fff1d6 #ffbf9a #ffd6cc #b983b0"),
        _palette("#4e86a4 #93b8b9 #e9d8b6 #ffe3b8", 0.45, "#24465a #ffe9cc #fffbe6 #ffe0a3 #fff2df #a8bfc0"),
        _palette("#7fa3c7 #b9c3d8 #efd3cf #fce4cf", 0.45, "#39506b #fbe0d4 #fff7ea #ffd9bd #fff0ea #bdb7cc"),
    ),
    "morning": (
        _palette("#4d9be0 #86c1ef #c2e3f5 #fdf0d8", 0.15, "#1f5a54 #fff4e0 #fffbe8 #fff0c2 #ffffff #bcd6ea"),
        _palette("#5aa7c8 #93cbd6 #cfe8df #fff3d9", 0.2, "#1c5560 #fff5dc #fffdf0 #fff3c4 #ffffff #b4d3d8"),
        _palette("#6f9bdc #a3c0ee #d3dcf4 #fbe6dc", 0.25, "#2c4a7a #fff0e6 #fffaf0 #ffeacc #ffffff #c3cde8"),
    ),
    "noon": (
        _palette("#1f7fd6 #4aa3ea #8fcdf5 #d5f0fb", 0.08, "#12505a #ffffff #fffef2 #fff9d0 #ffffff #b9dcf2"),
        _palette("#2a8fc7 #59b3dd #a4dbe8 #e6f6ee", 0.1, "#145058 #ffffff #fffef2 #fffbd6 #ffffff #b8dfe6"),
        _palette("#3b78d8 #6aa0ea #a6c9f4 #e0ecfb", 0.12, "#1b3f78 #fdfdff #fffdf0 #fff6d0 #ffffff #bfd3f2"),
        _palette("#1c9aa8 #5fc0bb #b5e0c8 #f6f1d2", 0.15, "#0f4a55 #fffbe8 #fffbe0 #fff4c0 #fffaf0 #a9d3c6"),
    ),
    "sunset": (
        _palette("#3b2a6b #8a3f7c #e8685a #ffb25e", 0.62, "#1d1436 #ffb58a #fff0b8 #ffc46b #ffa88a #9a4878"),
        _palette("#4a2a5e #b4475f #f27b4b #ffcf6d", 0.62, "#2a1230 #ffb27a #fff4c4 #ffd37a #ffb37e #a8465f"),
        _palette("#27395f #7a5577 #e08a6d #ffd391", 0.58, "#1b2238 #ffc39a #fff6d2 #ffd79a #ffc4a3 #8b5f78"),
        _palette("#6d1f3f #c23a45 #f2744b #ffc16b", 0.66, "#2b0d26 #ffa67a #ffedb0 #ffc070 #ff9f78 #9c3146"),
        _palette("#a1483d #e07b45 #f6ab55 #ffe08a", 0.6, "#3a1a25 #ffc48a #fffad8 #ffe69a #ffd08f #c06a48"),
    ),
    "dusk": (
        _palette("#1b1b4b #473780 #a14e94 #ee8a8f", 0.66, "#120f30 #b59ad0 #fdeedd #f2b5b0 #c987b6 #54408a"),
        _palette("#16264f #3a4a86 #8668a3 #e0a0a8", 0.62, "#0e1632 #a9a8d6 #fff3e4 #e8bcc0 #b59ac2 #47528c"),
        _palette("#2a1a4a #6b2f78 #c2508a #f59a86", 0.66, "#190d2f #c795bd #fff0dc #f7b6a0 #e08aa6 #6b3479"),
        _palette("#0f2c4a #2b5b79 #7f8f9a #e8b89a", 0.6, "#0b1d30 #a8b6c6 #fff4e0 #efc9ab #b7b3b3 #3d6580"),
    ),
    "night": (
        _palette("#070d24 #0f1f45 #1d3a68 #37608c", 0.58, "#050a18 #6783ae #f8f3df #8fb2d8 #3b5a88 #172a52"),
        _palette("#0b0a24 #1c1747 #3a2a6c #6a4a8c", 0.6, "#080616 #7a6fae #fbf2e2 #a994d8 #544488 #231b50"),
        _palette("#04161f #0a3040 #145462 #2f8080", 0.58, "#030e14 #5f9aa2 #f4f6e4 #86cfc8 #27646e #0c3644"),
        _palette("#0a1020 #172338 #2c3e55 #56677c", 0.58, "#060a12 #74859c #faf6ea #aabccc #46586e #1d2b40"),
    ),
}


@dataclass(frozen=True)
class Ground:
    """The land's own colours in one season, before light and air."""

    grass: Colour
    field: Colour
    rock: Colour
    firs: Colour
    foliage: tuple[Colour, ...]


GROUNDS: dict[str, Ground] = {
    "spring": Ground(rgb("#86bd5c"), rgb("#b4d06a"), rgb("#66778f"), rgb("#2f6f57"),
                     (rgb("#f2a9bf"), rgb("#8cc46a"), rgb("#f7c8d4"), rgb("#6fae5c"))),
    "summer": Ground(rgb("#5c9e4c"), rgb("#9dba55"), rgb("#5d6f8a"), rgb("#1f5a46"),
                     (rgb("#3f8a48"), rgb("#5a9e4a"), rgb("#2f7548"))),
    "autumn": Ground(rgb("#c69a4e"), rgb("#dcb35c"), rgb("#736e80"), rgb("#35573f"),
                     (rgb("#dd7a32"), rgb("#c64e30"), rgb("#e6ab42"), rgb("#a8402f"))),
    "winter": Ground(rgb("#93a6a8"), rgb("#a9b5ae"), rgb("#5c7190"), rgb("#2f5464"),
                     (rgb("#8f8487"), rgb("#7c7883"), rgb("#a1959a"))),
}  # fmt: skip
SAND = (rgb("#e9bd78"), rgb("#e2a868"), rgb("#efcb94"), rgb("#d98f5f"))
SNOW = rgb("#f6faff")


def sample_palette(time_of_day: str, rng: random.Random) -> Palette:
    """One of the hand-picked palettes, its sky turned by a little so that no two pictures share it exactly."""
    p = rng.choice(PALETTES[time_of_day])
    hue, light = rng.uniform(-0.018, 0.018), rng.uniform(-0.02, 0.02)
    a, b, c, d = (shifted(colour, hue, light) for colour in p.sky)
    near, cloud, shade = (shifted(colour, hue) for colour in (p.near, p.cloud, p.cloud_shade))
    return replace(p, sky=(a, b, c, d), near=near, cloud=cloud, cloud_shade=shade)
