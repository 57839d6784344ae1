"""What a caller asks for: one frozen model, checked field by field, with the limits it is checked against."""

import math
from enum import StrEnum
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

PROMPT_MAX_CHARS = 2000
SIDE_MAX_PX = 65_536
SEED_MAX = 2**32 - 1


class Task(StrEnum):
    """The tasks of the paper that this version serves (paper.md 4.2)."""

    UNCONDITIONAL_IMAGE = "unconditional_image"
    TEXT_TO_IMAGE = "text_to_image"


class OrderName(StrEnum):
    """The four basic orders (paper.md 2.2), or the rule of canvas.plan.choose_order."""

    AUTO = "auto"
    OMEGA = "omega"
    OMEGA_STAR = "omega_star"
    ZETA = "zeta"
    ZETA_STAR = "zeta_star"


class Frozen(BaseModel):
    """Base of everything that crosses a process border: immutable, and unknown fields are an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class SamplingParams(Frozen):
    """How tokens are drawn from the model's distribution."""

    temperature: float = Field(
        default=0.9, strict=True, ge=0.0, le=4.0, description="0 always takes the likeliest token; 1 draws as trained."
    )
    top_k: int = Field(
        default=0, strict=True, ge=0, le=65_536, description="Keep only the k likeliest tokens; 0 keeps all."
    )
    top_p: float = Field(
        default=0.9,
        strict=True,
        gt=0.0,
        le=1.0,
        description="Keep the likeliest tokens that together hold this probability.",
    )
    cfg_scale: float = Field(
        default=3.0,
        strict=True,
        ge=0.0,
        le=20.0,
        description="Classifier-free guidance: 1 is off, higher follows the prompt more closely.",
    )


class GenerateRequest(Frozen):
    """The body of POST /generate. Sizes are in pixels; any size is accepted and cropped from whole patches."""

    task: Task | None = Field(
        default=None,
        description="Left out: text_to_image with a prompt, unconditional_image without one.",
        validate_default=False,
    )
    prompt: Annotated[str, Field(max_length=PROMPT_MAX_CHARS)] | None = Field(
        default=None,
        description="What the picture shows, in plain words.",
        examples=["snowy mountains at sunset with a lake"],
    )
    width: int = Field(default=512, ge=1, le=SIDE_MAX_PX, strict=True, description="Pixels.")
    height: int = Field(default=256, ge=1, le=SIDE_MAX_PX, strict=True, description="Pixels.")
    order: OrderName = Field(default=OrderName.AUTO, description="The sequence in which patches are made.")
    seed: int | None = Field(
        default=None,
        ge=0,
        le=SEED_MAX,
        strict=True,
        description="The same request and seed give the same bytes. Left out: drawn.",
    )
    sampling: SamplingParams = SamplingParams()
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
            raise ValueError("task text_to_image needs a prompt")
        if self.task is Task.UNCONDITIONAL_IMAGE and self.prompt is not None:
            raise ValueError("task unconditional_image takes no prompt")
        return self

    @property
    def resolved_task(self) -> Task:
        if self.task is not None:
            return self.task
        return Task.UNCONDITIONAL_IMAGE if self.prompt is None else Task.TEXT_TO_IMAGE

    def patch_count(self, patch_px: int) -> int:
        """Patches of the ceiling grid for square patches of `patch_px` pixels."""
        return math.ceil(self.width / patch_px) * math.ceil(self.height / patch_px)
