# Which of the things that a landscape may show (model/attributes.py) go together.
import random
from dataclasses import dataclass

from model.attributes import ATTRIBUTE_VALUES


@dataclass(frozen=True)
class Attributes:
    """What one picture shows. Every field holds one of ATTRIBUTE_VALUES[field]; ValueError otherwise."""

    time_of_day: str = "noon"
    terrain: str = "hills"
    water: str = "none"
    trees: str = "none"
    clouds: str = "few"
    snow: str = "none"
    celestial: str = "sun"
    season: str = "summer"
    mist: str = "none"

    def __post_init__(self) -> None:
        for name, values in ATTRIBUTE_VALUES.items():
            if getattr(self, name) not in values:
                raise ValueError(f"{name} is {getattr(self, name)!r}, but must be one of {', '.join(values)}")


def sample_attributes(rng: random.Random) -> Attributes:
    """Draw attributes that go together: no sun at night, no snow on dunes, a sea where the terrain is the sea."""

    def pick(**weights: float) -> str:
        return rng.choices(list(weights), list(weights.values()))[0]

    time_of_day = pick(dawn=1, morning=1, noon=1.1, sunset=1.6, dusk=1, night=1.3)
    terrain = pick(mountains=2.4, hills=1.2, dunes=0.8, forest=1.3, plains=1, sea=1)
    season = "summer" if terrain == "dunes" else rng.choice(ATTRIBUTE_VALUES["season"])

    water = "none"
    if terrain == "sea":
        water = "sea"
    elif terrain == "mountains":
        water = pick(none=1, lake=1, sea=0.15)
    elif terrain in ("hills", "forest", "plains"):
        water = pick(none=1.2, lake=0.8, sea=0.1 if terrain == "hills" else 0.0)

    trees = "none"
    if terrain == "forest":
        trees = pick(firs=1, broadleaf=0.8)
    elif terrain == "mountains":
        trees = pick(none=1, firs=1.4, broadleaf=0.25)
    elif terrain in ("hills", "plains"):
        trees = pick(none=1, firs=0.6, broadleaf=1)
    elif terrain == "sea":
        trees = pick(none=1, firs=0.2, broadleaf=0.2)

    snow = "none"
    if terrain == "mountains":
        snow = pick(none=1, snow=4 if season == "winter" else 1.2)
    elif terrain in ("hills", "forest", "plains") and season == "winter":
        snow = pick(none=0.25, snow=1)

    if time_of_day == "night":
        celestial = pick(none=0.15, moon=0.5, crescent=0.4, stars=1, moon_and_stars=1, crescent_and_stars=1)
    elif time_of_day == "dusk":
        celestial = pick(none=1, moon=0.5, crescent=0.5, stars=0.6, moon_and_stars=0.3, crescent_and_stars=0.5)
    else:
        celestial = pick(none=0.5, sun=1.6 if time_of_day == "sunset" else 1)
    return Attributes(
        time_of_day=time_of_day,
        terrain=terrain,
        water=water,
        trees=trees,
        clouds=pick(clear=1, few=1.1, many=0.7 if terrain != "dunes" else 0.2),
        snow=snow,
        celestial=celestial,
        season=season,
        mist=pick(none=2.2, mist=0.0 if terrain == "dunes" else 1),
    )
