"""What a caller asks for: one frozen model, checked field by field, with the limits it is checked against."""

import math
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

PROMPT_MAX_CHARS = 2000
SIDE_MAX_PX = 65_536
SEED_MAX = 2**32 - 1
CANDIDATES_MAX = 64


class Task(StrEnum):
    """The five tasks of the paper (paper.md 4.2)."""

    UNCONDITIONAL_IMAGE = "unconditional_image"
    TEXT_TO_IMAGE = "text_to_image"
    IMAGE_OUTPAINTING = "image_outpainting"
    IMAGE_ANIMATION = "image_animation"
    TEXT_TO_VIDEO = "text_to_video"


FILM_TASKS = (Task.IMAGE_ANIMATION, Task.TEXT_TO_VIDEO)
FRAMES, FPS = 16, 8  # of a film that leaves them open
FPS_MAX = 60

SHORT_TASK_NAMES = {
    "unconditional": Task.UNCONDITIONAL_IMAGE,
    "t2i": Task.TEXT_TO_IMAGE,
    "outpainting": Task.IMAGE_OUTPAINTING,
    "animation": Task.IMAGE_ANIMATION,
    "t2v": Task.TEXT_TO_VIDEO,
}


def _full_name(name: Any) -> Any:
    return SHORT_TASK_NAMES.get(name, name) if isinstance(name, str) else name


class OrderName(StrEnum):
    """The four basic orders (paper.md 2.2), or the rule of canvas.plan.choose_order."""

    AUTO = "auto"
    OMEGA = "omega"
    OMEGA_STAR = "omega_star"
    ZETA = "zeta"
    ZETA_STAR = "zeta_star"


class Anchor(StrEnum):
    """Where a given picture lies on a larger canvas."""

    CENTER = "center"
    LEFT = "left"
    RIGHT = "right"
    TOP = "top"
    BOTTOM = "bottom"
    TOP_LEFT = "top_left"
    TOP_RIGHT = "top_right"
    BOTTOM_LEFT = "bottom_left"
    BOTTOM_RIGHT = "bottom_right"

    def share(self, before: str, after: str) -> float:
        """How much of what is added comes before the picture: 0 with `before` in the name, 1 with `after`, else half.

        share("left", "right") along rows, share("top", "bottom") along columns.
        """
        return 0.0 if before in self.value else 1.0 if after in self.value else 0.5


class Frozen(BaseModel):
    """Base of everything that crosses a process border: immutable, and unknown fields are an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class SamplingParams(Frozen):
    """How tokens are drawn from the model's distribution."""

    temperature: float = Field(
        default=1.0, strict=True, ge=0.0, le=4.0, description="0 always takes the likeliest token; 1 draws as trained."
    )
    top_k: int = Field(
        default=0, strict=True, ge=0, le=65_536, description="Keep only the k likeliest tokens; 0 keeps all."
    )
    top_p: float = Field(
        default=0.98,
        strict=True,
        gt=0.0,
        le=1.0,
        description="Keep the likeliest tokens that together hold this probability.",
    )
    min_p: float = Field(
        default=0.0,
        strict=True,
        ge=0.0,
        le=1.0,
        description="Keep tokens at least this many times as likely as the likeliest; 0 keeps all.",
    )
    later_min_p: float = Field(
        default=0.6,
        strict=True,
        ge=0.0,
        le=1.0,
        description="The same in a film's frames after the first, where it is more: higher flickers less.",
    )
    cfg_scale: float = Field(
        default=4.0,
        strict=True,
        ge=0.0,
        le=20.0,
        description="Classifier-free guidance: 1 is off, higher follows the prompt more closely. Of a film the first "
        "frame is guided.",
    )
    distilled: bool = Field(
        default=False,
        strict=True,
        description="Approximate and faster: one pass that has learned what guidance of cfg_scale comes to, not two. "
        "Follows the prompt a little less. Makes no difference to films.",
    )


class Extend(Frozen):
    """Pixels to add to a given picture on each side."""

    left: int = Field(default=0, ge=0, le=SIDE_MAX_PX, strict=True)
    right: int = Field(default=0, ge=0, le=SIDE_MAX_PX, strict=True)
    top: int = Field(default=0, ge=0, le=SIDE_MAX_PX, strict=True)
    bottom: int = Field(default=0, ge=0, le=SIDE_MAX_PX, strict=True)


class Area(Frozen):
    """A rectangle of a given picture, in pixels from its top left corner."""

    left: int = Field(ge=0, le=SIDE_MAX_PX, strict=True)
    top: int = Field(ge=0, le=SIDE_MAX_PX, strict=True)
    width: int = Field(ge=1, le=SIDE_MAX_PX, strict=True)
    height: int = Field(ge=1, le=SIDE_MAX_PX, strict=True)


class GenerateRequest(Frozen):
    """The body of POST /generate. Sizes are in pixels; any size is accepted and cropped from whole patches."""

    task: Annotated[Task, BeforeValidator(_full_name)] | None = Field(
        default=None,
        description="Left out: image_outpainting with an image, else text_to_image with a prompt, else "
        "unconditional_image; with frames or fps image_animation with an image, else text_to_video. A film as "
        "image makes it image_animation. "
        f"Short names are taken too: {', '.join(SHORT_TASK_NAMES)}.",
        validate_default=False,
    )
    prompt: Annotated[str, Field(max_length=PROMPT_MAX_CHARS)] | None = Field(
        default=None,
        description="What the picture shows, in plain words.",
        examples=["snowy mountains at sunset with a lake"],
    )
    width: int = Field(default=512, ge=1, le=SIDE_MAX_PX, strict=True, description="Pixels.")
    height: int = Field(default=256, ge=1, le=SIDE_MAX_PX, strict=True, description="Pixels.")
    frames: int | None = Field(
        default=None,
        ge=1,
        strict=True,
        description=f"image_animation and text_to_video: length of the film; left out, {FRAMES}. "
        "The first frame of an animation is the given picture, or the last frame of the given film.",
    )
    fps: int | None = Field(
        default=None,
        ge=1,
        le=FPS_MAX,
        strict=True,
        description="image_animation and text_to_video: frames shown in a second; left out, as many as the film that "
        f"it goes on from, else {FPS}.",
    )
    image: str | None = Field(
        default=None,
        description="image_outpainting, image_animation: a PNG, JPEG, WebP or AVIF file in base64, or a data URL of "
        "one; for image_animation also a film (GIF, WebP, MP4, WebM), which goes on from its last frame. As "
        "multipart/form-data the file is a part of its own.",
        repr=False,
    )
    job: str | None = Field(
        default=None,
        max_length=64,
        description="Instead of image the id of a finished job: its picture. For image_animation also that of a film, "
        "which goes on from its last frame.",
    )
    extend: Extend | None = Field(
        default=None,
        description="image_outpainting: pixels to add on each side. Or give width and height, and an anchor.",
    )
    anchor: Anchor = Field(
        default=Anchor.CENTER,
        description="image_outpainting to a width and height: where the given picture lies on the larger one.",
    )
    repaint: Area | None = Field(
        default=None, description="image_outpainting: a rectangle of the given picture to draw anew, instead of extend."
    )
    mask: str | None = Field(
        default=None,
        description="image_outpainting: instead of repaint a picture as large as the given one, in base64 or a data "
        "URL: where it is white (or transparent), the given one is drawn anew. As multipart/form-data a part.",
        repr=False,
    )
    order: OrderName = Field(default=OrderName.AUTO, description="The sequence in which patches are made.")
    seed: int | None = Field(
        default=None,
        ge=0,
        le=SEED_MAX,
        strict=True,
        description="The same request and seed give the same bytes. Left out: drawn.",
    )
    n: int = Field(
        default=1,
        ge=1,
        le=CANDIDATES_MAX,
        strict=True,
        description="Pictures or films of the same request, with seeds seed, seed + 1 and so on, as one group.",
    )
    sampling: SamplingParams = SamplingParams()
    guidance_scale: float | None = Field(
        default=None, strict=True, ge=0.0, le=20.0, description="Another name for sampling.cfg_scale."
    )
    model: str | None = Field(
        default=None, max_length=100, description="A name from GET /models. Left out: the default."
    )

    @field_validator("prompt")
    @classmethod
    def _prompt_says_something(cls, prompt: str | None) -> str | None:
        if prompt is not None and not any(character.isprintable() and not character.isspace() for character in prompt):
            raise ValueError("must hold at least one visible character; leave it out for a picture without a prompt")
        return prompt

    @model_validator(mode="after")
    def _task_fits_prompt(self) -> Self:
        if self.task is Task.TEXT_TO_IMAGE and self.prompt is None:
            raise _misfit("prompt", "task text_to_image needs a prompt")
        if self.task is Task.TEXT_TO_VIDEO and self.prompt is None:
            raise _misfit("prompt", "task text_to_video needs a prompt")
        if self.task is Task.UNCONDITIONAL_IMAGE and self.prompt is not None:
            raise _misfit("prompt", "task unconditional_image takes no prompt")
        return self

    @model_validator(mode="after")
    def _nothing_is_said_twice(self) -> Self:
        if self.guidance_scale is not None and "cfg_scale" in self.sampling.model_fields_set:
            raise _misfit("guidance_scale", "guidance_scale and sampling.cfg_scale are the same: give one of them")
        if self.image is not None and self.job is not None:
            raise _misfit("job", "image and job both say which picture to go on from: give one of them")
        return self

    @model_validator(mode="after")
    def _fields_fit_task(self) -> Self:
        task = self.resolved_task
        barred = [] if task is Task.IMAGE_OUTPAINTING else self._picture_fields()
        if task is Task.IMAGE_ANIMATION:
            barred = [name for name in barred if name not in ("image", "job")]
        if task not in FILM_TASKS:
            barred += self._film_fields()
        for name in barred:
            raise _misfit(name, f"task {task} takes no {name}")
        return self

    def _film_fields(self) -> list[str]:
        """The fields of films alone that say something."""
        return [name for name in ("frames", "fps") if getattr(self, name) is not None]

    def _picture_fields(self) -> list[str]:
        """The fields about a given picture that say something."""
        fields = type(self).model_fields
        own = ("image", "job", "extend", "anchor", "repaint", "mask")
        return [name for name in own if getattr(self, name) != fields[name].default]

    @property
    def resolved_task(self) -> Task:
        if self.task is not None:
            return self.task
        if self._film_fields():
            return Task.TEXT_TO_VIDEO if self.image is None and self.job is None else Task.IMAGE_ANIMATION
        if self._picture_fields():
            return Task.IMAGE_OUTPAINTING
        return Task.UNCONDITIONAL_IMAGE if self.prompt is None else Task.TEXT_TO_IMAGE

    def patch_count(self, patch_px: int) -> int:
        """Patches of the ceiling grid for square patches of `patch_px` pixels, where no picture is given."""
        return (self.frames or 1) * math.ceil(self.width / patch_px) * math.ceil(self.height / patch_px)


def _misfit(field: str, message: str) -> PydanticCustomError:
    """A fault of one field that only shows beside others."""
    return PydanticCustomError("misfit", "{message}", {"field": field, "message": message})
