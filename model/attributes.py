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
        "dawn": "dawn, sunrise, daybreak, first light, roosters crow, birds awaken, day begins, sun "
        "comes up, peep of day, cocks call, four in the early hours, very early, sky first "
        "brightens, larks sing, sun up, dew on the ground, night ends",
        "morning": "morning, breakfast, before lunch, eight thirty, brunch, day still young, forenoon, "
        "road to work, school starts, before noon, before midday",
        "morning noon": "blue sky, blue skies",
        "noon": "noon, midday, daylight, by day, middle of the day, lunchtime, twelve o clock, "
        "afternoon, one in the day, siesta time, all through the day, high sun, full sun, sun "
        "is highest, halfway through the day, daytime, three in the day",
        "sunset": "sunset, sundown, golden hour, evening sun, afterglow, orange horizon, scarlet "
        "horizon, sun goes down, sun sinks, last sunlight, red evening glow, glowing red sky, "
        "golden evening, fiery evening colours, burning red sky, glow of the setting sun, "
        "flaming sky, ruby skyline, copper evening light",
        "sunset dusk": "evening",
        "dusk": "dusk, twilight, nightfall, eventide, darkness gathers, lamps are lit, gloaming, "
        "purple gloom, night falls, half light, light fades, blue hour, it gets dim, street "
        "lights come on, shadows lengthen, late in the evening, lilac shade, bats come out, "
        "vespers, day dies",
        "night": "night, nights, midnight, after dark, darkness, nocturnal, small hours, deep black, "
        "everyone sleeps, blackness, owls call, long since sunset, overnight, black sky, "
        "bedtime, inky blackness, total shadow",
    },
    "terrain": {
        "mountains": "mountain, mountains, peaks, alps, alpine, summit, summits, crags, massif, sierra, "
        "pinnacles, himalayas, rockies, andes, rocky cliffs, steep rock walls, volcano, "
        "towering rocks, mountainsides, rocky ridge, cordillera, glacier valley",
        "hills": "hill, hills, hilly, hillside, hillsides, knoll, knolls, mounds, upland, slopes, "
        "foothills, downs, hillocks, hilltop, soft ridges, wolds, hummocks, gentle rises, "
        "bumpy countryside, rising ground, tuscany",
        "dunes": "dune, dunes, desert, sahara, gobi, arabia, arid, wasteland, namib, kalahari, "
        "drifting sands, mojave, egypt, morocco, drylands, oasis, dusty badland, cracked "
        "earth, waterless land, scorched sand, bare sand, dry sandy emptiness",
        "forest": "forest, forests, forested, forested hills, woods, woodland, thicket, timber, "
        "timberland, grove, arboretum, jungle, wood, copse, spinney, undergrowth, pinewood, "
        "rainforest, wooded country, trunks and branches, taiga, bushland, orchard, stand of "
        "trees",
        "plains": "plains, meadow, meadows, field, fields, grassland, grasslands, prairie, steppe, "
        "pasture, pastures, farmland, savanna, meadowland, pampas, crops, flat country, "
        "flatland, heath, ranchland, grazing land, cornfield, paddocks, tundra, open "
        "countryside, hayfield, serengeti",
    },
    "water": {
        "lake": "lake, lakes, lakeshore, tarn, pond, loch, lagoon, reservoir, pool, lakeside, dam, "
        "inland water, quiet waters, waterhole, lough, lake shore, mere",
        "sea": "sea, seas, ocean, seascape, seaside, seashore, coast, coastline, shore, bay, beach, "
        "inlet, surf, breakers, waves, atlantic, pacific, open water, mediterranean, baltic, "
        "caribbean, gulf, harbour, fjord, rolling swell, estuary, cove, rollers, seawater",
        "lake sea": "water",
    },
    "trees": {
        "firs": "fir, firs, pine, pines, conifer, conifers, evergreen, evergreens, spruce, spruces, "
        "cedar, cedars, juniper, junipers, redwood, redwoods, cypress, cypresses, larches, "
        "hemlocks, yews, sequoias, needle trees, tamaracks, thujas, coniferous trees",
        "broadleaf": "broadleaf, deciduous, leafy, oak, oaks, maple, maples, beech, beeches, birch, "
        "birches, elm, elms, ash trees, poplars, willows, lindens, chestnuts, sycamores, "
        "aspens, hornbeams, alders, hazels, walnut trees, apple trees, hardwoods, cherry "
        "trees",
        "firs broadleaf": "tree, trees",
        "none": "treeless",
    },
    "clouds": {
        "clear": "clear sky, clear skies, cloudless, spotless heavens, flawless heavens, empty sky, "
        "unbroken blue sky, open blue sky, pure sky, sky free of clouds, perfect blue sky, "
        "not a cloud, immaculate skies, unclouded skies, unblemished skies",
        "few": "few clouds, some clouds, scattered clouds, sparse clouds, few wisps, two wisps, "
        "sparse cumulus, cumulus puffs, cloud or two, little clouds, small white clouds, "
        "handful of clouds, fair weather clouds, isolated clouds, occasional clouds, three "
        "small clouds, cotton balls in the sky, thin cirrus",
        "many": "many clouds, cloudy, lots of clouds, clouds all over, thick clouds, overcast, "
        "stratus, thick cumulus, grey sky, leaden sky, covered sky, cloud banks, heaped "
        "clouds, ceiling of clouds, billowing clouds, full cloud cover, storm clouds, nimbus, "
        "dull sky, masses of cloud",
        "few many": "cloud, clouds, cumulus, wisp, wisps",
    },
    "snow": {
        "snow": "snow, snowy, snowcapped, frost, frosty, powder, ice, icy, frozen, white coat, "
        "snowdrifts, coated in white flakes, rime, blizzard, glacial, snowed in, rime covered",
    },
    "celestial": {
        "sun": "sun, sunlight, solar, daystar, sunshine, sunbeams",
        "moon crescent moon_and_stars crescent_and_stars": "moon, moonlight, moonlit, lunar",
        "moon moon_and_stars": "full moon, round moon, bright moon, lunar disc, lunar orb, lunar globe, whole moon, "
        "fat moon, large moon, pale round moon, circular moon, moon at its fullest, moon like "
        "a plate",
        "crescent crescent_and_stars": "crescent, crescent moon, thin moon, sickle moon, lunar sliver, lunar arc, "
        "new moon, quarter moon, narrow moon, moon like a hook, curved strip of moon, fine moon sickle, "
        "young moon, moon like a thin bow",
        "stars moon_and_stars crescent_and_stars": "star, stars, starry, starlit, starlight, constellations, "
        "milky way, galaxy, star filled sky, sky full of stars, orion, great bear, pleiades, star clusters, nebulae, "
        "shooting stars, band of stars, distant suns, cosmos",
    },
    "season": {
        "spring": "spring, springtime, in march, april, in may, easter, blossoms, march, flowers bloom, "
        "new leaves, bloom, cherry flowers, thaw comes, time of tulips, budding trees, "
        "lambing, flowers opening, passover",
        "summer": "summer, summertime, june, july, august, heatwave, hot day, dog days, swimming "
        "weather, midsummer, school holidays, sweltering weather, hot weather",
        "autumn": "autumn, autumnal, in fall, in the fall, september, october, november, harvest, amber "
        "foliage, leaves fall, golden leaves, red and yellow leaves, halloween, thanksgiving, "
        "mushroom season, rust coloured leaves, grape picking, apples ripen, crops come in",
        "winter": "winter, wintry, wintertime, december, january, february, christmas, cold, cold day, "
        "freezing weather, new year, yuletide, midwinter, frozen months, skiing season, "
        "coldest weeks, hanukkah",
    },
    "mist": {
        "mist": "mist, misty, fog, foggy, haze, hazy, vapour, murk, steam, smog",
    },
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
