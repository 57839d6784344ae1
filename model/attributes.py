"""What a landscape may show, and which of it the words of a prompt ask for."""

import re
from collections.abc import Iterator

ATTRIBUTE_VALUES: dict[str, tuple[str, ...]] = {
    "time_of_day": ("dawn", "morning", "noon", "sunset", "dusk", "night"),
    "terrain": ("mountains", "hills", "dunes", "forest", "plains", "sea"),
    "water": ("none", "lake", "sea"),
    "trees": ("none", "firs", "broadleaf"),
    "clouds": ("clear", "few", "many"),
    "snow": ("none", "snow"),
    "celestial": ("none", "sun", "moon", "crescent", "stars", "moon_and_stars", "crescent_and_stars"),
    "season": ("spring", "summer", "autumn", "winter"),
    "mist": ("none", "mist"),
}

# Attribute -> values, any of which would be right -> the phrases that ask for them; of several that fit, the longest
# counts. Words that are as often about something else ("white", "plain", "sunny") are left out.
_PHRASES: dict[str, dict[str, str]] = {
    "time_of_day": {
        "dawn": "dawn, sunrise, daybreak, first light, roosters crow, birds awaken",
        "morning": "morning, breakfast, before lunch",
        "noon": "noon, midday, daylight, by day, middle of the day, lunchtime, twelve o clock, afternoon",
        "sunset": "sunset, sundown, golden hour, evening sun, afterglow, orange horizon, scarlet horizon",
        "sunset dusk": "evening",
        "dusk": "dusk, twilight, nightfall, eventide, darkness gathers, lamps are lit, gloaming, purple gloom",
        "night": "night, nights, midnight, after dark, darkness, nocturnal",
    },
    "terrain": {
        "mountains": "mountain, mountains, peaks, alps, alpine, summit, summits, crags, massif, sierra, pinnacles",
        "hills": "hill, hills, hilly, hillside, hillsides, knoll, knolls, mounds, upland, slopes",
        "dunes": "dune, dunes, desert, sahara, gobi, arabia, arid, wasteland",
        "forest": "forest, forests, forested, forested hills, woods, woodland, thicket, timber, timberland, grove, "
        "arboretum",
        "plains": "plains, meadow, meadows, field, fields, grassland, grasslands, prairie, steppe, pasture, pastures, "
        "farmland, savanna",
    },
    "water": {
        "lake": "lake, lakes, lakeshore, tarn, pond, loch, lagoon, reservoir",
        "sea": "sea, seas, ocean, seascape, seaside, seashore, coast, coastline, shore, bay, beach, inlet, surf, "
        "breakers, waves, atlantic, pacific, open water",
        "lake sea": "water",
    },
    "trees": {
        "firs": "fir, firs, pine, pines, conifer, conifers, evergreen, evergreens, spruce, spruces, cedar, cedars, "
        "juniper, junipers, redwood, redwoods, cypress, cypresses",
        "broadleaf": "broadleaf, deciduous, leafy, oak, oaks, maple, maples, beech, beeches, birch, birches, elm, elms",
        "firs broadleaf": "tree, trees",
        "none": "treeless",
    },
    "clouds": {
        "clear": "clear sky, clear skies, cloudless, spotless heavens, flawless heavens",
        "few": "few clouds, some clouds, scattered clouds, sparse clouds, few wisps, two wisps, sparse cumulus, "
        "cumulus puffs",
        "many": "many clouds, cloudy, lots of clouds, clouds all over, thick clouds, overcast, stratus, thick cumulus",
        "few many": "cloud, clouds, cumulus, wisp, wisps",
    },
    "snow": {"snow": "snow, snowy, snowcapped, frost, frosty, powder, ice, icy"},
    "celestial": {
        "sun": "sun, sunlight, solar",
        "moon crescent moon_and_stars crescent_and_stars": "moon, moonlight, moonlit, lunar",
        "moon moon_and_stars": "full moon, round moon, bright moon, lunar disc, lunar orb, lunar globe",
        "crescent crescent_and_stars": "crescent, crescent moon, thin moon, sickle moon, lunar sliver, lunar arc",
        "stars moon_and_stars crescent_and_stars": "star, stars, starry, starlit, starlight, constellations, "
        "milky way, galaxy",
    },
    "season": {
        "spring": "spring, springtime, in march, april, in may, easter, blossoms",
        "summer": "summer, summertime, june, july, august, heatwave",
        "autumn": "autumn, autumnal, in fall, in the fall, september, october, november, harvest, amber foliage",
        "winter": "winter, wintry, wintertime, december, january, february, christmas",
    },
    "mist": {"mist": "mist, misty, fog, foggy, haze, hazy, vapour, murk"},
}
_ASKING: dict[tuple[str, ...], tuple[str, frozenset[str]]] = {
    tuple(phrase.split()): (name, frozenset(values.split()))
    for name, told in _PHRASES.items()
    for values, phrases in told.items()
    for phrase in phrases.split(", ")
}
_LONGEST = max(map(len, _ASKING))
_DENYING = frozenset(["no", "without", "nor"])
_DENIED_NO_MORE = frozenset(
    [*",;:.!?()", "and", "with", "but", "in", "at", "under", "over", "by", "on", "above", "below", "beside", "before"]
)
_WORD = re.compile(r"[a-z]+|[,;:.!?()]")


def asked_attributes(prompt: str | None) -> dict[str, tuple[str, ...]]:
    """Attribute -> the values of ATTRIBUTE_VALUES that would be right; attributes that no word tells are left out.

    Where words agree the values are those that all of them allow ("a full moon and stars"), else those that any does
    ("mountains and a forest"). What is denied ("no clouds", "without trees or snow") asks for all other values. The
    sea is water, and the terrain too where no other is named. Only English words are known.
    """
    asked: dict[str, frozenset[str]] = {}
    for name, values in _told((prompt or "").lower()):
        before = asked.get(name, values)
        asked[name] = before & values or before | values
    if "terrain" not in asked and asked.get("water") == {"sea"}:
        asked["terrain"] = frozenset(["sea"])
    return {n: tuple(v for v in known if v in asked[n]) for n, known in ATTRIBUTE_VALUES.items() if n in asked}


def _told(text: str) -> Iterator[tuple[str, frozenset[str]]]:
    """Each phrase that asks for something, as its attribute and values."""
    words = _WORD.findall(text)
    at, denied = 0, False
    while at < len(words):
        denied = words[at] in _DENYING or (denied and words[at] not in _DENIED_NO_MORE)
        for length in range(_LONGEST, 0, -1):
            found = _ASKING.get(tuple(words[at : at + length]))
            if found is not None:
                name, values = found
                yield name, frozenset(ATTRIBUTE_VALUES[name]) - values if denied else values
                at += length
                break
        else:
            at += 1
