"""Words for landscapes that no training caption uses: every word below that tells an attribute is foreign to
training/captions.py and caption_words.py, and a test holds it to that.
"""

UNSEEN: dict[str, dict[str, tuple[str, ...]]] = {
    "terrain": {
        "mountains": ("summits", "crags", "a rugged massif", "a jagged sierra", "granite pinnacles"),
        "hills": ("sloping knolls", "undulating slopes", "low mounds", "upland slopes", "green knolls"),
        "dunes": ("the Sahara", "an arid wilderness", "a parched wasteland", "barren Arabia", "the Gobi"),
        "forest": ("a thicket", "dense timberland", "a shady grove", "tall timber", "a tall arboretum"),
        "plains": ("a prairie", "a steppe", "pastures", "level farmland", "a savanna"),
        "sea": ("the Atlantic", "breaking surf", "the Pacific", "a beach", "a tidal inlet"),
    },
    "water": {
        "lake": ("a tarn", "a pond", "a loch", "a lagoon", "a reservoir"),
        "sea": ("the surf", "the Atlantic", "a salty inlet", "breakers"),
    },
    "trees": {
        "firs": ("spruces", "cedars", "junipers", "redwoods", "cypresses"),
        "broadleaf": ("oaks", "maples", "beeches", "birches", "elms"),
    },
    "time_of_day": {
        "dawn": ("as roosters crow", "as birds awaken", "at five a.m."),
        "morning": ("at breakfast", "at nine a.m.", "at ten a.m.", "before lunch"),
        "noon": ("at lunchtime", "at twelve o'clock", "in the afternoon", "at two p.m."),
        "sunset": ("in crimson afterglow", "before a blazing orange horizon", "before a scarlet horizon"),
        "dusk": ("as lamps are lit", "as darkness gathers", "at eventide", "in purple gloom"),
        "night": ("after dark", "in nocturnal darkness", "in pitch darkness", "in nocturnal gloom"),
    },
    "season": {
        "spring": ("in April", "in May", "amid blossoms", "at Easter"),
        "summer": ("in July", "in August", "during a heatwave"),
        "autumn": ("in October", "in November", "at harvest", "amid amber foliage"),
        "winter": ("in January", "in February", "in December", "at Christmas"),
    },
    "clouds": {
        "clear": ("spotless heavens", "flawless heavens", "heavens without a wisp"),
        "few": ("a couple of cumulus puffs", "sparse cumulus", "one or two wisps"),
        "many": ("a heavy overcast", "overcast heavens", "thick cumulus everywhere", "a blanket of stratus"),
    },
    "snow": {"snow": ("under fresh powder", "under glittering frost", "blanketed in powder", "beneath ice")},
    "celestial": {
        "sun": ("a solar disc", "a blazing solar orb", "solar rays"),
        "moon": ("a lunar disc", "a luminous lunar orb", "a big lunar globe"),
        "crescent": ("a lunar sliver", "a slender lunar arc", "a waxing lunar sliver"),
        "stars": ("constellations", "the Milky Way", "glittering constellations", "a galaxy"),
        "moon_and_stars": ("a lunar disc amid constellations", "a lunar globe and the Milky Way"),
        "crescent_and_stars": ("a lunar sliver amid constellations", "a slender lunar arc and the Milky Way"),
    },
    "mist": {"mist": ("veiled in vapour", "shrouded in murk", "wrapped in smoky vapour", "blurred by murk")},
}  # fmt: skip

# Words that tell nothing of a landscape; captions may use them too.
EMPTY_WORDS = frozenset(
    [
        "a",
        "an",
        "the",
        "and",
        "of",
        "in",
        "at",
        "on",
        "by",
        "as",
        "or",
        "with",
        "under",
        "over",
        "beside",
        "above",
        "before",
        "one",
        "two",
        "all",
    ]
)

# For prompts whose values are swapped: the plainest words of the captions.
PLAIN: dict[str, dict[str, str]] = {
    "terrain": {
        "mountains": "mountains", "hills": "hills", "dunes": "dunes", "forest": "a forest", "plains": "fields",
        "sea": "the sea",
    },
    "time_of_day": {
        "dawn": "at dawn", "morning": "in the morning", "noon": "at noon", "sunset": "at sunset", "dusk": "at dusk",
        "night": "at night",
    },
    "season": {"spring": "in spring", "summer": "in summer", "autumn": "in autumn", "winter": "in winter"},
    "trees": {"firs": "with fir trees", "broadleaf": "with leafy trees"},
    "clouds": {"clear": "under a clear sky", "few": "with a few clouds", "many": "with many clouds"},
}  # fmt: skip
