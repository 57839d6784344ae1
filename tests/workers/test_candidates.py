"""Candidates of a group are read when they are finished, films by some frames; other jobs are not; it harms none."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest

from jobs.broker.memory import MemoryBroker
from jobs.events import Fit, JobFinished
from jobs.job import Candidate, JobStatus
from workers.fits import FRAMES_READ, is_read, mean_fit

pytestmark = pytest.mark.anyio


class Reader:
    """Scores a picture by its brightness, and keeps what it was given to read."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.seen: list[tuple[np.ndarray, str | None]] = []

    def __call__(self, bands: Iterable[np.ndarray], width: int, height: int, prompt: str | None) -> Fit:
        pixels = np.concatenate(list(bands))
        assert pixels.shape == (height, width, 3)
        self.seen.append((pixels, prompt))
        if self.error is not None:
            raise self.error
        return Fit(score=float(pixels.mean()) / 255, asked={"water": ("lake",)}, read={"water": "none"})


def candidates(bench: Any, *places: int) -> list[Any]:
    return [candidate(bench.job(f"group-{place}", 60, 40, seed=place), place) for place in places]


def candidate(job: Any, place: int) -> Any:
    return job.model_copy(update={"candidate": Candidate(group="group", place=place, n=2)})


async def drawn(bench: Any, jobs: list[Any], reader: Reader) -> list[JobFinished]:
    broker = MemoryBroker()
    await bench.submit(broker, *jobs)
    async with bench.working(broker) as worker:
        worker._scorer = reader
        states = await bench.until_ended(broker, *jobs)
    assert {state.status for state in states} == {JobStatus.SUCCEEDED}
    for job in jobs:
        await bench.check_finished(broker, job)
    ends = [(await bench.read_all(broker, job))[-1].event for job in jobs]
    assert [state.fit for state in states] == [end.fit for end in ends]
    return ends


async def test_a_candidate_s_finished_picture_is_read_and_scored(bench: Any) -> None:
    reader = Reader()
    ends = await drawn(bench, candidates(bench, 0, 1), reader)
    by_score = {float(pixels.mean()) / 255 for pixels, _ in reader.seen}
    assert {end.fit.score for end in ends} == by_score
    assert len(by_score) == 2
    assert [prompt for _, prompt in reader.seen] == ["häuser am see"] * 2


async def test_a_job_of_no_group_is_not_read(bench: Any) -> None:
    reader = Reader()
    [end] = await drawn(bench, [bench.job("job", 60, 40)], reader)
    assert (end.fit, reader.seen) == (None, [])


async def test_a_picture_that_cannot_be_read_is_finished_all_the_same(bench: Any) -> None:
    reader = Reader(RuntimeError("no memory"))
    [end] = await drawn(bench, candidates(bench, 0), reader)
    assert end.fit is None
    assert len(reader.seen) == 1


async def test_a_film_is_scored_by_the_mean_of_some_of_its_frames(bench: Any) -> None:
    films = [candidate(bench.film(f"group-{place}", frames=9, seed=place), place) for place in range(2)]
    reader = Reader()
    ends = await drawn(bench, films, reader)
    assert len(reader.seen) == 2 * FRAMES_READ
    brightness = [float(pixels.mean()) / 255 for pixels, _ in reader.seen]
    assert sum(end.fit.score for end in ends) * FRAMES_READ == pytest.approx(sum(brightness), abs=1e-3)
    assert ends[0].fit.score != ends[1].fit.score
    assert ends[0].fit.read == {"water": "none"}


async def test_a_film_s_score_is_the_same_after_its_worker_was_lost(bench: Any, limits: Any, clock: Any) -> None:
    film = candidate(bench.film("group-0", frames=7), 0)
    [alone] = await drawn(bench, [film], Reader())
    for kind in ("film", "result", "webm", "webp", "gif"):
        bench.store.delete(film.id, kind)
    broker = MemoryBroker(limits, clock)
    await bench.submit(broker, film)
    async with bench.working(broker) as worker:
        worker._scorer = Reader()
        await bench.until(broker, film, lambda state: state.patches_done >= 50)
    clock.now += limits.lease_s + 1
    async with bench.working(broker, name="w2") as worker:
        worker._scorer = Reader()
        [state] = await bench.until_ended(broker, film)
    assert (state.status, state.fit) == (JobStatus.SUCCEEDED, alone.fit)


async def test_a_film_of_no_group_is_not_read(bench: Any) -> None:
    reader = Reader()
    [end] = await drawn(bench, [bench.film()], reader)
    assert (end.fit, reader.seen) == (None, [])


async def test_a_film_with_a_frame_that_cannot_be_read_has_no_score(bench: Any) -> None:
    [end] = await drawn(bench, [candidate(bench.film(frames=2), 0)], Reader(RuntimeError("no memory")))
    assert end.fit is None


@pytest.mark.parametrize(("frames", "read"), [(1, [0]), (3, [0, 1, 2]), (4, [0, 1, 2, 3]), (16, [3, 7, 11, 15])])
def test_the_frames_that_are_read_lie_at_equal_distances_up_to_the_last(frames: int, read: list[int]) -> None:
    assert [frame for frame in range(frames) if is_read(frame, frames)] == read


def test_the_fit_of_a_film_is_what_most_of_its_frames_show() -> None:
    frames = [Fit(score=score, asked={"water": ("sea",)}, read={"water": seen})
              for score, seen in ((0.2, "lake"), (0.9, "sea"), (1.0, "sea"))]  # fmt: skip
    assert mean_fit(frames) == Fit(score=0.7, asked={"water": ("sea",)}, read={"water": "sea"})
    unasked = Fit(score=None, asked={}, read={"water": "sea"})
    assert mean_fit([unasked, unasked]) == unasked
    assert mean_fit([]) is mean_fit([unasked, None]) is None
