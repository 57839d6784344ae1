"""What happens to a job, as a closed union of frozen events; their order in the log is the job's history.

A log begins with JobQueued and ends with exactly one of TERMINAL. The log's entry ids are the SSE ids.
"""

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from jobs.request import Frozen


class _Event(Frozen):
    version: Literal[1] = 1


class JobQueued(_Event):
    kind: Literal["job.queued"] = "job.queued"


class JobStarted(_Event):
    """The canvas is laid out: everything a browser needs to place patches."""

    kind: Literal["job.started"] = "job.started"
    model: str
    model_version: str
    seed: int
    order: str
    width: int
    height: int
    patch_px: int
    rows: int
    columns: int
    total: int
    rounds: int
    given: tuple[int, int, int, int] | None = Field(
        default=None, description="The box of the caller's own pixels: left, top, right, bottom, in pixels."
    )


class JobResumed(_Event):
    """A worker took over after another was lost; `done` patches were replayed, none was drawn again."""

    kind: Literal["job.resumed"] = "job.resumed"
    done: int


class PatchEvent(_Event):
    """One patch exists. Its rim may still change by a shade once its neighbours exist: see PatchRefined.

    A patch that lies wholly inside JobStarted.given comes without tokens, is final, and is not refined.
    """

    kind: Literal["patch"] = "patch"
    index: int = Field(description="Frame-major, then row, then column.")
    frame: int
    row: int
    column: int
    box: tuple[int, int, int, int] = Field(description="Left, top, right, bottom in pixels, cropped to the picture.")
    done: int
    total: int
    sha256: str = Field(description="Of the image bytes.")


class PatchRefined(_Event):
    """The final pixels of a patch, all its neighbours known: exactly those of the result."""

    kind: Literal["patch.refined"] = "patch.refined"
    index: int
    frame: int
    row: int
    column: int
    box: tuple[int, int, int, int]
    sha256: str


class JobFinished(_Event):
    kind: Literal["job.finished"] = "job.finished"
    seconds: float = Field(description="From the first lease to the result, pauses included.")
    sha256: str = Field(description="Of the result's pixels (RGB rows from the top), whatever the file format.")


class JobFailed(_Event):
    kind: Literal["job.failed"] = "job.failed"
    code: str
    message: str


class JobCanceled(_Event):
    kind: Literal["job.canceled"] = "job.canceled"
    done: int = Field(description="Patches that exist; they stay viewable until the job's time to live ends.")


JobEvent = Annotated[
    JobQueued | JobStarted | JobResumed | PatchEvent | PatchRefined | JobFinished | JobFailed | JobCanceled,
    Field(discriminator="kind"),
]
TERMINAL = (JobFinished, JobFailed, JobCanceled)

_codec: TypeAdapter[JobEvent] = TypeAdapter(JobEvent)


def encode_event(event: JobEvent) -> bytes:
    return _codec.dump_json(event)


def decode_event(data: bytes) -> JobEvent:
    """Raises pydantic.ValidationError for an unknown kind or version of event."""
    return _codec.validate_json(data)
