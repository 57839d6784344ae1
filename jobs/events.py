"""What happens to a job, as a closed union of frozen events; their order in the log is the job's history.

A log begins with JobQueued and ends with exactly one of TERMINAL. The log's entry ids are the SSE ids.
"""

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from jobs.request import Area, Frozen


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
    frames: int = 1
    fps: int | None = Field(default=None, description="Of films: frames shown in a second.")
    given: tuple[int, int, int, int] | None = Field(
        default=None, description="The box of the caller's own pixels: left, top, right, bottom, in pixels."
    )
    repaint: Area | None = Field(default=None, description="The part of the caller's picture that is drawn anew.")
    masked: bool = Field(default=False, description="Whether a mask says which pixels of that part.")
    sketch: str | None = Field(
        default=None,
        description="What the whole picture, or a film's first frame, is to become: a small WebP picture as a data: "
        "address. To be stretched over the canvas until patches cover it.",
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


class FrameEvent(_Event):
    """All patches of a film's frame are final. Frames come in turn, each after the patches it is made of."""

    kind: Literal["frame"] = "frame"
    index: int
    done: int = Field(description="Frames that are complete.")
    total: int = Field(description="Frames of the film.")
    sha256: str = Field(description="Of the frame's pixels (RGB rows from the top).")
    seconds: float = Field(description="Since the first lease, pauses included.")


class Fit(Frozen):
    """How a picture fits its prompt, as the evaluation's classifier reads it (model/scorer.py)."""

    score: float | None = Field(
        ge=0, le=1, description="Mean probability of what is asked; null where the prompt asks for nothing it can read."
    )
    asked: dict[str, tuple[str, ...]] = Field(description="Attributes that the prompt tells: the values it allows.")
    read: dict[str, str] = Field(description="Every attribute that can be read: the likeliest value.")


class JobFinished(_Event):
    kind: Literal["job.finished"] = "job.finished"
    seconds: float = Field(description="From the first lease to the result, pauses included.")
    sha256: str = Field(
        description="Of the result's pixels (RGB rows from the top, of a film frame after frame), whatever its format."
    )
    fit: Fit | None = Field(default=None, description="Of the candidates of a group.")


class JobFailed(_Event):
    kind: Literal["job.failed"] = "job.failed"
    code: str
    message: str


class JobCanceled(_Event):
    kind: Literal["job.canceled"] = "job.canceled"
    done: int = Field(description="Patches that exist; they stay viewable until the job's time to live ends.")


JobEvent = Annotated[
    JobQueued
    | JobStarted
    | JobResumed
    | PatchEvent
    | PatchRefined
    | FrameEvent
    | JobFinished
    | JobFailed
    | JobCanceled,
    Field(discriminator="kind"),
]
TERMINAL = (JobFinished, JobFailed, JobCanceled)

_codec: TypeAdapter[JobEvent] = TypeAdapter(JobEvent)


def encode_event(event: JobEvent) -> bytes:
    return _codec.dump_json(event)


def decode_event(data: bytes) -> JobEvent:
    """Raises pydantic.ValidationError for an unknown kind or version of event."""
    return _codec.validate_json(data)
