"""More words for what training captions say: does a larger vocabulary help with words outside it too?

Shaped as lexicon.py, whose telling words are not among these; a test holds it to that.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

from training import captions

WIDER: dict[str, dict[str, tuple[str, ...]]] = {
    "terrain": {
        "mountains": (
            "the Himalayas", "the Rockies", "the Andes", "rocky cliffs", "a mountain pass", "steep rock walls",
            "a volcano", "towering rocks", "mountainsides", "a rocky ridge", "a cordillera", "a glacier valley",
        ),
        "hills": (
            "foothills", "downs", "hillocks", "a hilltop", "soft ridges", "wolds", "rounded hills", "hummocks",
            "gentle rises", "a bumpy countryside", "rising ground", "moorland hills", "vineyard hills", "Tuscany",
        ),
        "dunes": (
            "the Namib", "the Kalahari", "drifting sands", "the Mojave", "Egypt", "Morocco", "drylands", "an oasis",
            "a dusty badland", "cracked earth", "a waterless land", "scorched sand", "bare sand",
            "a dry sandy emptiness",
        ),
        "forest": (
            "a jungle", "a wood", "deep woods", "a copse", "a spinney", "undergrowth", "a pinewood", "a rainforest",
            "wooded country", "trunks and branches", "a taiga", "bushland", "an orchard", "a stand of trees",
        ),
        "plains": (
            "meadowland", "the pampas", "crops", "wheat fields", "flat country", "flatland", "a heath", "ranchland",
            "grazing land", "a cornfield", "paddocks", "a tundra", "open countryside", "a hayfield", "the Serengeti",
        ),
        "sea": (
            "the Mediterranean", "the Baltic", "the Caribbean", "the Arctic Ocean", "sea waves", "a gulf", "a harbour",
            "a seashore", "a sandy coastline", "a fjord", "rolling swell", "an estuary", "foaming waves", "a cove",
        ),
    },
    "water": {
        "lake": (
            "a pool", "a lakeside", "a mountain lake", "a dam", "inland water", "a fishing lake", "quiet waters",
            "Lake Como", "a waterhole", "a lough", "a lake shore", "a mere", "sweet lake water",
        ),
        "sea": (
            "the Baltic", "the Mediterranean", "ocean swell", "sea waves", "a gulf", "a bay", "rollers", "seawater",
            "the deep sea", "foam and waves",
        ),
    },
    "trees": {
        "firs": (
            "larches", "hemlocks", "yews", "sequoias", "needle trees", "Douglas firs", "Scots pines", "tamaracks",
            "thujas", "coniferous trees", "evergreen trees", "pine needles",
        ),
        "broadleaf": (
            "ash trees", "poplars", "willows", "lindens", "chestnuts", "sycamores", "aspens", "hornbeams", "alders",
            "hazels", "walnut trees", "apple trees", "hardwoods", "cherry trees",
        ),
    },
    "time_of_day": {
        "dawn": (
            "as the day begins", "as the sun comes up", "at the crack of dawn", "at peep of day", "as cocks call",
            "at four in the early hours", "very early", "as the sky first brightens", "when larks sing", "at sun-up",
            "with dew on the ground", "as the night ends", "at six, when the first people get up",
        ),
        "morning": (
            "at eight in the morning", "at eight thirty", "over morning coffee", "mid-morning", "at brunch",
            "with the day still young", "in the forenoon", "on the road to work", "as school starts", "before noon",
            "at eleven, well before midday",
        ),
        "noon": (
            "at high noon", "at one in the day", "at siesta time", "all through the day", "under a high sun",
            "in full sun", "when the sun is highest", "in broad daylight", "halfway through the day", "in the daytime",
            "at three in the day", "over the midday meal",
        ),
        "sunset": (
            "as the sun goes down", "as the sun sinks", "in the last sunlight", "in a red evening glow",
            "before a glowing red sky", "in a golden evening", "in fiery evening colours", "under a burning red sky",
            "in the glow of the setting sun", "before a flaming sky", "with a ruby skyline",
            "with copper evening light",
        ),
        "dusk": (
            "as night falls", "in the gloaming", "in the half-light", "as the light fades", "at the blue hour",
            "as it gets dim", "as street lights come on", "as shadows lengthen", "late in the evening",
            "in violet twilight", "in lilac shade", "as bats come out", "at vespers", "as the day dies",
        ),
        "night": (
            "in the small hours", "in the dead of night", "late at night", "at two in the night", "in deep black",
            "while everyone sleeps", "in blackness", "when owls call", "long since sunset", "overnight",
            "under a black sky", "at bedtime", "in inky blackness", "in total shadow",
        ),
    },
    "season": {
        "spring": (
            "in March", "as flowers bloom", "with new leaves", "in bloom", "with cherry flowers", "as the thaw comes",
            "in the time of tulips", "with budding trees", "at lambing", "with flowers opening", "at Passover",
        ),
        "summer": (
            "in June", "in high summer", "on a hot day", "in the dog days", "in swimming weather", "at midsummer",
            "in the school holidays", "in sweltering weather", "in hot weather",
        ),
        "autumn": (
            "in September", "as leaves fall", "with golden leaves", "with red and yellow leaves", "at Halloween",
            "at Thanksgiving", "in mushroom season", "with rust-coloured leaves", "at the grape picking",
            "as apples ripen", "when crops come in",
        ),
        "winter": (
            "in the cold", "on a cold day", "in freezing weather", "at New Year", "at Yuletide", "in midwinter",
            "in the frozen months", "in skiing season", "in the coldest weeks", "at Hanukkah",
        ),
    },
    "clouds": {
        "clear": (
            "an empty sky", "an unbroken blue sky", "an open blue sky", "a pure sky", "a sky free of clouds",
            "a perfect blue sky", "not a cloud", "immaculate skies", "unclouded skies", "unblemished skies",
        ),
        "few": (
            "a cloud or two", "little clouds", "small white clouds", "a handful of clouds", "fair-weather clouds",
            "isolated clouds", "occasional clouds", "three small clouds", "cotton balls in the sky", "thin cirrus",
        ),
        "many": (
            "a grey sky", "a leaden sky", "a covered sky", "cloud banks", "heaped clouds", "a ceiling of clouds",
            "billowing clouds", "a full cloud cover", "storm clouds", "nimbus", "a dull sky", "masses of cloud",
        ),
    },
    "snow": {
        "snow": (
            "under new snow", "under deep snow", "buried in snow", "with a snow cover", "dusted with snow", "frozen",
            "under a white coat", "in snowdrifts", "with fallen snow", "coated in white flakes", "under rime",
            "in a blizzard",
        ),
    },
    "celestial": {
        "sun": (
            "the daystar", "sunshine", "sunbeams", "a bright ball of sun", "a yellow sun", "a golden sun",
            "a burning sun", "a shining sun",
        ),
        "moon": (
            "a whole moon", "a fat moon", "a large moon", "a pale round moon", "a circular moon",
            "a moon at its fullest", "a moon like a plate",
        ),
        "crescent": (
            "a new moon", "a quarter moon", "a narrow moon", "a moon like a hook", "a curved strip of moon",
            "a fine moon sickle", "a young moon", "a moon like a thin bow",
        ),
        "stars": (
            "starlight", "a star-filled sky", "a sky full of stars", "Orion", "the Great Bear", "the Pleiades",
            "star clusters", "nebulae", "shooting stars", "a band of stars", "distant suns", "the cosmos",
        ),
        "moon_and_stars": (
            "a round moon with stars around it", "a full moon and Orion", "a whole moon beside the Pleiades",
            "a large moon among distant stars",
        ),
        "crescent_and_stars": (
            "a narrow moon and Orion", "a new moon among stars", "a sickle moon beside the Pleiades",
            "a young moon and a sky full of stars",
        ),
    },
    "mist": {
        "mist": (
            "in haze", "in thin fog", "covered by mist", "hidden by fog", "in steam", "in smog", "in dim haze",
            "cloaked in fog", "in a grey haze", "behind a curtain of mist", "in hazy air",
        ),
    },
}  # fmt: skip

SNOWY = ("snow-dusted", "snow-buried", "snow-clad", "frozen", "glacial", "snowed-in", "rime-covered", "snow-laden")


def _noun(phrase: str) -> tuple[str, str]:
    """'a cove' -> ('a', 'cove'), 'the Andes' -> ('', 'Andes'): adjectives go between."""
    article, _, rest = phrase.partition(" ")
    return (article, rest) if article in ("a", "an") else ("", rest if article == "the" else phrase)


@contextmanager
def wider_captions() -> Iterator[None]:
    """Inside, training/captions.py also uses the words of WIDER."""
    tables = {
        "time_of_day": captions._TIME, "season": captions._SEASON, "water": captions._WATER, "trees": captions._TREES,
        "clouds": captions._CLOUDS, "celestial": captions._CELESTIAL,
    }  # fmt: skip
    woods = {kind: tuple(("a", f"forest of {trees}") for trees in more) for kind, more in WIDER["trees"].items()}
    lands = {kind: tuple(map(_noun, more)) for kind, more in WIDER["terrain"].items()}
    with ExitStack() as stack:
        for name, table in tables.items():
            stack.enter_context(patch.dict(table, {k: table[k] + more for k, more in WIDER[name].items()}))
        for nouns, more in ((captions._KIND_OF_FOREST, woods), (captions._TERRAIN, lands)):
            stack.enter_context(patch.dict(nouns, {k: nouns[k] + more[k] for k in more}))
        stack.enter_context(patch.object(captions, "_MIST", captions._MIST + WIDER["mist"]["mist"]))
        stack.enter_context(patch.object(captions, "_SNOWY", captions._SNOWY + SNOWY))
        yield
