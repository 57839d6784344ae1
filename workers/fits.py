"""How candidates fit their prompt: a picture is read once, a film by some of its frames."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from jobs.events import Fit
from workers.engine import Pixels

log = logging.getLogger("nuwa.worker")

# Rows of a picture from the top, some at a time; width, height, prompt -> how it fits the prompt (workers/scorer.py).
Scorer = Callable[[Iterable[Pixels], int, int, str | None], Fit]

FRAMES_READ = 4  # of a film: what its prompt asks for is in every frame, and reading one takes some 40 ms


def is_read(frame: int, frames: int) -> bool:
    """Whether a frame of a film of so many is read: the last one, and others at equal distances before it.

    So the first is only where there are few: of an animation it is the given picture, alike in all candidates.
    """
    count = min(FRAMES_READ, frames)
    return frame in {(place + 1) * frames // count - 1 for place in range(count)}


def fit_of(scorer: Scorer, bands: Iterable[Pixels], width: int, height: int, prompt: str | None) -> Fit | None:
    """None for a picture that cannot be read: it is a picture all the same."""
    try:
        return scorer(bands, width, height, prompt)
    except Exception:
        log.exception("how a candidate fits its prompt could not be read")
        return None


def mean_fit(fits: Sequence[Fit | None]) -> Fit | None:
    """Of a film, from its frames: the mean of their scores, and of every attribute what is read most often.

    None where a frame could not be read, or there is none.
    """
    found = [fit for fit in fits if fit is not None]
    if not found or len(found) < len(fits):
        return None
    scores = [fit.score for fit in found if fit.score is not None]
    read = {name: Counter(fit.read[name] for fit in found).most_common(1)[0][0] for name in found[0].read}
    score = round(sum(scores) / len(scores), 4) if scores else None
    return Fit(score=score, asked=found[0].asked, read=read)
