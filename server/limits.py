"""What the gateway checks beyond the field rules of GenerateRequest: model, task, order, size, control characters."""

import unicodedata
from collections.abc import Sequence

from jobs.errors import UnknownModel
from jobs.job import ModelInfo
from jobs.request import GenerateRequest, OrderName, Task
from server.errors import InvalidRequest, NoWorker
from server.wording import FieldError, field_error

_ALLOWED_CONTROLS = frozenset("\t\n\r")


def choose_model(models: Sequence[ModelInfo], name: str | None, default: str | None) -> ModelInfo:
    """The model asked for, else the default, else the first by name.

    Raises NoWorker where none is known; InvalidRequest naming all that are for one that is not.
    """
    if not models:
        raise NoWorker("No worker has been seen yet; one that is starting needs a moment to load its model.")
    if name is None:
        name = default or models[0].name
    known = {model.name: model for model in models}
    if name not in known:
        error = field_error("model", f"must be one of {', '.join(known)}", name, list(known))
        raise InvalidRequest(error, code=UnknownModel.code)
    return known[name]


def check(request: GenerateRequest, model: ModelInfo, max_pixels: int) -> None:
    """Raises InvalidRequest naming every field that this model or this gateway cannot serve."""
    errors = [*_size_errors(request, max_pixels), *_prompt_errors(request.prompt)]
    if request.resolved_task in (Task.IMAGE_ANIMATION, Task.TEXT_TO_VIDEO):
        rule = f"cannot be {request.resolved_task}: this server's model does not make films yet"
        errors.append(field_error("task", rule))
    if request.order is not OrderName.AUTO and request.order.value not in model.orders:
        rule = f"must be auto or one that model {model.name} was trained on: {', '.join(model.orders)}"
        errors.append(field_error("order", rule, request.order.value, ["auto", *model.orders]))
    if errors:
        raise InvalidRequest(*errors)


def _size_errors(request: GenerateRequest, max_pixels: int) -> list[FieldError]:
    pixels = request.width * request.height
    if pixels <= max_pixels:
        return []
    size = f"{request.width} x {request.height} = {pixels}"
    if request.extend is not None:
        rule = f"must make a picture of at most {max_pixels} pixels (got {size})"
        return [field_error("extend", rule, limit=max_pixels)]
    rule = f"times height must be at most {max_pixels} pixels (got {size})"
    return [field_error("width", rule, limit=max_pixels)]


def _prompt_errors(prompt: str | None) -> list[FieldError]:
    """Control characters mean nothing to a model and cannot stand in the metadata of a file."""
    for place, character in enumerate(prompt or ""):
        if unicodedata.category(character) == "Cc" and character not in _ALLOWED_CONTROLS:
            what = f"U+{ord(character):04X} at {place}"
            return [field_error("prompt", f"must hold no control characters (got {what})")]
    return []
