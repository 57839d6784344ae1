"""Candidates of a group are read when they are finished; other jobs are not, and reading harms none."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest

from jobs.broker.memory import MemoryBroker
from jobs.events import Fit, JobFinished
from jobs.job import Candidate, JobStatus

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
    jobs = [bench.job(f"group-{place}", 60, 40, seed=place) for place in places]
    return [
        job.model_copy(update={"candidate": Candidate(group="group", place=place, n=2)})
        for job, place in zip(jobs, places, strict=True)
    ]


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
