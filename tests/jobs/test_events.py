"""The codec of events: what goes in comes out, and what it does not know is an error."""

import json
from typing import get_args

import pytest
from pydantic import ValidationError

from jobs.broker.rules import end_status, may_change
from jobs.events import (
    TERMINAL,
    FrameEvent,
    JobCanceled,
    JobEvent,
    JobFailed,
    JobFinished,
    JobQueued,
    JobResumed,
    JobStarted,
    PatchEvent,
    PatchRefined,
    decode_event,
    encode_event,
)
from jobs.job import ALLOWED_CHANGES, ENDED, JobStatus

EVENTS: list[JobEvent] = [
    JobQueued(),
    JobStarted(
        model="tiny",
        model_version="1",
        seed=2**32 - 1,
        order="omega",
        width=100,
        height=50,
        patch_px=64,
        rows=1,
        columns=2,
        total=2,
        rounds=2,
    ),
    JobResumed(done=3),
    PatchEvent(index=5, frame=0, row=1, column=2, box=(128, 64, 192, 128), done=6, total=8, sha256="ab"),
    PatchRefined(index=5, frame=0, row=1, column=2, box=(128, 64, 192, 128), sha256="cd"),
    FrameEvent(index=0, done=1, total=16, sha256="de", seconds=0.5),
    JobFinished(seconds=12.25, sha256="ef"),
    JobFailed(code="out_of_memory", message='Quotes ", newlines \n and 女娲 survive.'),
    JobCanceled(done=0),
]


def test_there_is_an_example_of_every_event() -> None:
    assert {type(event) for event in EVENTS} == set(get_args(get_args(JobEvent)[0]))


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.kind)
def test_an_event_survives_its_encoding(event: JobEvent) -> None:
    data = encode_event(event)
    assert decode_event(data) == event
    assert (json.loads(data)["kind"], json.loads(data)["version"]) == (event.kind, 1)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.kind)
@pytest.mark.parametrize("change", [{"version": 2}, {"kind": "job.dreamt"}, {"colour": "red"}], ids=str)
def test_what_this_version_does_not_know_is_refused(event: JobEvent, change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        decode_event(json.dumps(json.loads(encode_event(event)) | change).encode())


def test_events_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        EVENTS[0].version = 1


def test_terminal_events_and_no_others_end_a_job() -> None:
    for event in EVENTS:
        assert (end_status(event) in ENDED) == isinstance(event, TERMINAL)
    assert {end_status(event) for event in EVENTS if isinstance(event, TERMINAL)} == ENDED


def test_no_job_leaves_an_ended_status() -> None:
    assert set(ALLOWED_CHANGES) == set(JobStatus)
    assert not any(may_change(old, new) for old in ENDED for new in JobStatus)
    assert all(may_change(JobStatus.RUNNING, new) for new in ENDED)
