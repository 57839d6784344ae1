"""Groups: the candidates of one request, each a job of its own. What is known of a group is what its jobs know."""

import asyncio

from jobs.broker.base import Broker
from jobs.errors import JobNotFound
from jobs.job import ENDED, JobState, JobStatus, candidate_id
from jobs.store import check_job_id
from server.errors import GroupNotFound


async def candidates(broker: Broker, group: str) -> list[JobState]:
    """The jobs of a group in the order of their seeds.

    Raises GroupNotFound, BrokerUnavailable.
    """
    try:
        first = await broker.state(check_job_id(candidate_id(group, 0)))
        if first.job.candidate is None:
            raise JobNotFound
        others = (broker.state(candidate_id(group, place)) for place in range(1, first.job.candidate.n))
        return [first, *await asyncio.gather(*others)]
    except (JobNotFound, ValueError):
        raise GroupNotFound("There is no such group, or its time to live has passed.") from None


def is_ended(states: list[JobState]) -> bool:
    return all(state.status in ENDED for state in states)


def status(states: list[JobState]) -> JobStatus:
    """Of all together: succeeded, once all have ended, if any did; else failed if any did."""
    found = {state.status for state in states}
    if found == {JobStatus.QUEUED}:
        return JobStatus.QUEUED
    if not is_ended(states):
        return JobStatus.RUNNING
    return next(one for one in (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELED) if one in found)


def ranked(states: list[JobState]) -> list[JobState]:
    """Best first; those without a score after them, and those without a picture last, in the order of their seeds."""
    return sorted(states, key=_rank)


def _rank(state: JobState) -> tuple[bool, float]:
    score = state.fit.score if state.fit is not None else None
    return state.status is not JobStatus.SUCCEEDED, 0.0 if score is None else -score - 1
