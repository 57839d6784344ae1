"""The words of captions: what training/captions.py chooses from, for every value of every attribute.

Words that evaluation/lexicon.py keeps for prompts in words that no caption has are not among these; a test holds it to
that.
"""

# Nouns: "" before a plural, "a" before a singular; adjectives go between.
TERRAIN: dict[str, tuple[tuple[str, str], ...]] = {
    "mountains": (("", "mountains"),) * 4 + (
        ("", "mountain peaks"), ("a", "mountain range"), ("", "peaks"), ("a", "mountain landscape"),
        ("", "alpine mountains"), ("", "mountain ridges"), ("", "Himalayas"), ("", "Rockies"), ("", "Andes"),
        ("", "rocky cliffs"), ("a", "mountain pass"), ("", "steep rock walls"), ("a", "volcano"),
        ("", "towering rocks"), ("", "mountainsides"), ("a", "rocky ridge"), ("a", "cordillera"),
        ("a", "glacier valley"),
    ),
    "hills": (
        ("", "hills"), ("", "rolling hills"), ("", "gentle hills"), ("a", "hilly landscape"), ("", "hillsides"),
        ("", "foothills"), ("", "downs"), ("", "hillocks"), ("a", "hilltop"), ("", "soft ridges"), ("", "wolds"),
        ("", "rounded hills"), ("", "hummocks"), ("", "gentle rises"), ("a", "bumpy countryside"),
        ("", "rising ground"), ("", "moorland hills"), ("", "vineyard hills"), ("", "Tuscany"),
    ),
    "dunes": (
        ("", "dunes"), ("", "sand dunes"), ("a", "desert"), ("", "desert dunes"), ("a", "sandy desert"), ("", "Namib"),
        ("", "Kalahari"), ("", "drifting sands"), ("", "Mojave"), ("", "Egypt"), ("", "Morocco"), ("", "drylands"),
        ("an", "oasis"), ("a", "dusty badland"), ("", "cracked earth"), ("a", "waterless land"), ("", "scorched sand"),
        ("", "bare sand"), ("a", "dry sandy emptiness"),
    ),
    "forest": (
        ("a", "forest"), ("", "woods"), ("", "forested hills"), ("a", "woodland"), ("a", "forest landscape"),
        ("a", "jungle"), ("a", "wood"), ("", "deep woods"), ("a", "copse"), ("a", "spinney"), ("", "undergrowth"),
        ("a", "pinewood"), ("a", "rainforest"), ("", "wooded country"), ("", "trunks and branches"), ("a", "taiga"),
        ("", "bushland"), ("an", "orchard"), ("a", "stand of trees"),
    ),
    "plains": (
        ("", "plains"), ("a", "meadow"), ("", "fields"), ("", "grasslands"), ("", "open plains"), ("", "meadowland"),
        ("", "pampas"), ("", "crops"), ("", "wheat fields"), ("", "flat country"), ("", "flatland"), ("a", "heath"),
        ("", "ranchland"), ("", "grazing land"), ("a", "cornfield"), ("", "paddocks"), ("a", "tundra"),
        ("", "open countryside"), ("a", "hayfield"), ("", "Serengeti"),
    ),
    "sea": (
        ("a", "sea"), ("a", "coast"), ("a", "seascape"), ("an", "ocean"), ("a", "shore"), ("a", "bay"),
        ("", "Mediterranean"), ("", "Baltic"), ("", "Caribbean"), ("", "Arctic Ocean"), ("", "sea waves"),
        ("a", "gulf"), ("a", "harbour"), ("a", "seashore"), ("a", "sandy coastline"), ("a", "fjord"),
        ("", "rolling swell"), ("an", "estuary"), ("", "foaming waves"), ("a", "cove"),
    ),
}  # fmt: skip

KIND_OF_FOREST: dict[str, tuple[tuple[str, str], ...]] = {
    "firs": (
        ("a", "fir forest"), ("a", "pine forest"), ("a", "conifer forest"), ("a", "forest of firs"),
        ("a", "forest of larches"), ("a", "forest of hemlocks"), ("a", "forest of yews"), ("a", "forest of sequoias"),
        ("a", "forest of needle trees"), ("a", "forest of Douglas firs"), ("a", "forest of Scots pines"),
        ("a", "forest of tamaracks"), ("a", "forest of thujas"), ("a", "forest of coniferous trees"),
        ("a", "forest of evergreen trees"), ("a", "forest of pine needles"),
    ),
    "broadleaf": (
        ("a", "broadleaf forest"), ("a", "deciduous forest"), ("a", "leafy forest"), ("", "leafy woods"),
        ("a", "forest of ash trees"), ("a", "forest of poplars"), ("a", "forest of willows"),
        ("a", "forest of lindens"), ("a", "forest of chestnuts"), ("a", "forest of sycamores"),
        ("a", "forest of aspens"), ("a", "forest of hornbeams"), ("a", "forest of alders"), ("a", "forest of hazels"),
        ("a", "forest of walnut trees"), ("a", "forest of apple trees"), ("a", "forest of hardwoods"),
        ("a", "forest of cherry trees"),
    ),
}  # fmt: skip

TIME: dict[str, tuple[str, ...]] = {
    "dawn": (
        "at dawn", "at sunrise", "at daybreak", "at first light", "as the day begins", "as the sun comes up",
        "at the crack of dawn", "at peep of day", "as cocks call", "at four in the early hours", "very early",
        "as the sky first brightens", "when larks sing", "at sun-up", "with dew on the ground", "as the night ends",
        "at six, when the first people get up",
    ),
    "morning": (
        "in the morning", "in morning light", "on a bright morning", "in the soft morning light",
        "at eight in the morning", "at eight thirty", "over morning coffee", "mid-morning", "at brunch",
        "with the day still young", "in the forenoon", "on the road to work", "as school starts", "before noon",
        "at eleven, well before midday", "under a blue sky",
    ),
    "noon": ("under a blue sky",) * 2 + (
        "at noon", "at midday", "in daylight", "in the middle of the day", "by day", "in bright daylight",
        "at high noon", "at one in the day", "at siesta time", "all through the day", "under a high sun", "in full sun",
        "when the sun is highest", "in broad daylight", "halfway through the day", "in the daytime",
        "at three in the day", "over the midday meal", "under a bright blue sky", "under blue skies",
        "before a blue sky",
    ),
    "sunset": ("at sunset",) * 4 + (
        "at sundown", "at golden hour", "under a sunset sky", "in the evening sun", "as the sun goes down",
        "as the sun sinks", "in the last sunlight", "in a red evening glow", "before a glowing red sky",
        "in a golden evening", "in fiery evening colours", "under a burning red sky", "in the glow of the setting sun",
        "before a flaming sky", "with a ruby skyline", "with copper evening light",
    ),
    "dusk": (
        "at dusk", "at twilight", "at nightfall", "in the twilight", "as night falls", "in the gloaming",
        "in the half-light", "as the light fades", "at the blue hour", "as it gets dim", "as street lights come on",
        "as shadows lengthen", "late in the evening", "in violet twilight", "in lilac shade", "as bats come out",
        "at vespers", "as the day dies",
    ),
    "night": ("at night",) * 3 + (
        "by night", "in the night", "at midnight", "under a night sky", "in the small hours", "in the dead of night",
        "late at night", "at two in the night", "in deep black", "while everyone sleeps", "in blackness",
        "when owls call", "long since sunset", "overnight", "under a black sky", "at bedtime", "in inky blackness",
        "in total shadow",
    ),
}  # fmt: skip

TIME_NOUN: dict[str, tuple[str, ...]] = {
    "dawn": (
        "dawn", "sunrise", "daybreak",
    ),
    "morning": (
        "morning", "morning light",
    ),
    "noon": (
        "midday", "daylight", "noon",
    ),
    "sunset": (
        "sunset", "evening sun",
    ),
    "dusk": (
        "dusk", "twilight",
    ),
    "night": (
        "night", "night sky",
    ),
}  # fmt: skip

SEASON: dict[str, tuple[str, ...]] = {
    "spring": (
        "in spring", "in springtime", "in March", "as flowers bloom", "with new leaves", "in bloom",
        "with cherry flowers", "as the thaw comes", "in the time of tulips", "with budding trees", "at lambing",
        "with flowers opening", "at Passover",
    ),
    "summer": (
        "in summer", "in summertime", "in June", "in high summer", "on a hot day", "in the dog days",
        "in swimming weather", "at midsummer", "in the school holidays", "in sweltering weather", "in hot weather",
    ),
    "autumn": (
        "in autumn", "in the fall", "in autumn colours", "in September", "as leaves fall", "with golden leaves",
        "with red and yellow leaves", "at Halloween", "at Thanksgiving", "in mushroom season",
        "with rust-coloured leaves", "at the grape picking", "as apples ripen", "when crops come in",
    ),
    "winter": (
        "in winter", "in wintertime", "in the cold", "on a cold day", "in freezing weather", "at New Year",
        "at Yuletide", "in midwinter", "in the frozen months", "in skiing season", "in the coldest weeks",
        "at Hanukkah",
    ),
}  # fmt: skip

SNOWY = ("snowy",) * 3 + (
    "snow-covered", "snow-capped", "white", "snow-dusted", "snow-buried", "snow-clad", "frozen", "glacial", "snowed-in",
    "rime-covered", "snow-laden",
)  # fmt: skip

MISTY = (
    "misty", "foggy", "hazy",
)  # fmt: skip

MIST = (
    "mist", "fog", "mist in the valleys", "drifting fog", "layers of mist", "in haze", "in thin fog", "covered by mist",
    "hidden by fog", "in steam", "in smog", "in dim haze", "cloaked in fog", "in a grey haze",
    "behind a curtain of mist", "in hazy air",
)  # fmt: skip

WATER: dict[str, tuple[str, ...]] = {
    "lake": ("a lake",) * 4 + (
        "a calm lake", "a still lake", "a mirror-like lake", "a lake in front", "reflections in a lake", "a pool",
        "a lakeside", "a mountain lake", "a dam", "inland water", "a fishing lake", "quiet waters", "Lake Como",
        "a waterhole", "a lough", "a lake shore", "a mere", "sweet lake water",
    ),
    "sea": (
        "the sea", "the ocean", "a calm sea", "open water", "waves", "the Baltic", "the Mediterranean", "ocean swell",
        "sea waves", "a gulf", "a bay", "rollers", "seawater", "the deep sea", "foam and waves",
    ),
}  # fmt: skip

BY_WATER: dict[str, tuple[str, ...]] = {
    "lake": (
        "by a lake", "beside a lake", "reflected in a lake", "at a lake", "above a quiet lake", "on a lakeshore",
    ),
    "sea": (
        "by the sea", "by the ocean", "at the seaside", "above the sea",
    ),
}  # fmt: skip

TREES: dict[str, tuple[str, ...]] = {
    "firs": (
        "firs", "fir trees", "pine trees", "conifers", "evergreens", "pines", "larches", "hemlocks", "yews", "sequoias",
        "needle trees", "Douglas firs", "Scots pines", "tamaracks", "thujas", "coniferous trees", "evergreen trees",
        "pine needles",
    ),
    "broadleaf": (
        "trees", "round trees", "leafy trees", "broadleaf trees", "deciduous trees", "ash trees", "poplars", "willows",
        "lindens", "chestnuts", "sycamores", "aspens", "hornbeams", "alders", "hazels", "walnut trees", "apple trees",
        "hardwoods", "cherry trees",
    ),
}  # fmt: skip

CLOUDS: dict[str, tuple[str, ...]] = {
    "clear": (
        "a clear sky", "a cloudless sky", "clear skies", "an empty sky", "an unbroken blue sky", "an open blue sky",
        "a pure sky", "a sky free of clouds", "a perfect blue sky", "not a cloud", "immaculate skies",
        "unclouded skies", "unblemished skies", "a blue sky", "blue skies overhead",
    ),
    "few": (
        "a few clouds", "some clouds", "scattered clouds", "a cloud or two", "little clouds", "small white clouds",
        "a handful of clouds", "fair-weather clouds", "isolated clouds", "occasional clouds", "three small clouds",
        "cotton balls in the sky", "thin cirrus", "a blue sky with a few clouds", "white clouds in a blue sky",
        "some white clouds",
    ),
    "many": (
        "many clouds", "a cloudy sky", "clouds", "lots of clouds", "clouds all over the sky", "a grey sky",
        "a leaden sky", "a covered sky", "cloud banks", "heaped clouds", "a ceiling of clouds", "billowing clouds",
        "a full cloud cover", "storm clouds", "nimbus", "a dull sky", "masses of cloud",
    ),
}  # fmt: skip

CELESTIAL: dict[str, tuple[str, ...]] = {
    "sun": (
        "the sun", "a glowing sun", "the sun in the sky", "a round sun", "the daystar", "sunshine", "sunbeams",
        "a bright ball of sun", "a yellow sun", "a golden sun", "a burning sun", "a shining sun",
    ),
    "moon": (
        "a full moon", "the moon", "a bright moon", "a round moon", "a whole moon", "a fat moon", "a large moon",
        "a pale round moon", "a circular moon", "a moon at its fullest", "a moon like a plate",
    ),
    "crescent": (
        "a crescent moon", "a thin moon", "the moon", "a sickle moon", "a new moon", "a quarter moon", "a narrow moon",
        "a moon like a hook", "a curved strip of moon", "a fine moon sickle", "a young moon", "a moon like a thin bow",
    ),
    "stars": (
        "stars", "a starry sky", "many stars", "twinkling stars", "starlight", "a star-filled sky",
        "a sky full of stars", "Orion", "the Great Bear", "the Pleiades", "star clusters", "nebulae", "shooting stars",
        "a band of stars", "distant suns", "the cosmos",
    ),
    "moon_and_stars": (
        "a full moon and stars", "the moon and stars", "a moonlit starry sky", "a full moon among stars",
        "a round moon with stars around it", "a full moon and Orion", "a whole moon beside the Pleiades",
        "a large moon among distant stars",
    ),
    "crescent_and_stars": (
        "a crescent moon and stars", "the moon and stars", "a crescent moon in a starry sky", "a narrow moon and Orion",
        "a new moon among stars", "a sickle moon beside the Pleiades", "a young moon and a sky full of stars",
    ),
}  # fmt: skip

SHINES: dict[str, tuple[str, ...]] = {
    "sun": (
        "the sun shines over", "the sun stands above", "the sun glows over", "sunlight over",
    ),
    "moon": (
        "a full moon shines over", "the moon rises over", "moonlight over", "a bright moon above",
    ),
    "crescent": (
        "a crescent moon hangs over", "a thin moon above", "the moon shines on",
    ),
    "stars": (
        "stars shine over", "a starry sky over", "stars twinkle above", "countless stars above",
    ),
    "moon_and_stars": (
        "the moon and stars shine over", "a full moon and stars above", "a moonlit, starry sky over",
    ),
    "crescent_and_stars": (
        "a crescent moon and stars above", "a crescent moon hangs in a starry sky over",
    ),
}  # fmt: skip

FRAMES = (
    "a landscape with {}", "a view of {}", "a picture of {}", "a poster of {}", "an illustration of {}",
    "a scene of {}", "a minimalist landscape of {}", "a quiet view over {}", "flat poster art of {}",
    "a layered landscape: {}",
)  # fmt: skip

STYLES = (
    "flat poster style", "vector illustration", "minimalist poster", "flat design", "layered landscape",
)  # fmt: skip

# Of films: the camera goes right, left, stays.
PANS: dict[int, tuple[str, ...]] = {
    1: (
        "the camera pans right", "panning right", "a slow pan to the right", "the camera moves to the right",
    ),
    -1: (
        "the camera pans left", "panning left", "a slow pan to the left", "the camera moves to the left",
    ),
    0: (
        "a still camera", "static shot", "the camera does not move",
    ),
}  # fmt: skip

LAPSE = (
    "time-lapse", "fast clouds", "a time-lapse film",
)  # fmt: skip

PHOTOGRAPHED = (
    "a photo: {}", "photo of {}", "{}, photo", "photograph, {}", "{}, a photograph", "a photograph of {}",
)  # fmt: skip
