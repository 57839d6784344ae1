"""What the gateway checks beyond the field rules of GenerateRequest: model, task, order, size, control characters."""

import unicodedata
from collections.abc import Sequence

from canvas.grid import Extent
from canvas.plan import pages_needed
from jobs.errors import UnknownModel
from jobs.job import Job, ModelInfo
from jobs.request import FILM_TASKS, GenerateRequest, OrderName
from server.errors import InvalidRequest, NoWorker
from server.wording import FieldError, field_error

# Of a film: what H.264 holds at level 5.2, the highest that players can be expected to know.
FILM_SIDE_MAX_PX = 8192
FRAME_MAX_PIXELS = 4096 * 2304
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


def check(request: GenerateRequest, model: ModelInfo, max_pixels: int, max_frames: int) -> None:
    """Raises InvalidRequest naming every field that this model or this gateway cannot serve."""
    beyond = _film_errors(request, model, max_frames) if request.resolved_task in FILM_TASKS else []
    errors = [*(beyond or _size_errors(request, max_pixels)), *_prompt_errors(request.prompt)]
    if request.order is not OrderName.AUTO and request.order.value not in model.orders:
        rule = f"must be auto or one that model {model.name} was trained on: {', '.join(model.orders)}"
        errors.append(field_error("order", rule, request.order.value, ["auto", *model.orders]))
    if request.sampling.distilled and request.prompt is not None:
        errors += _distilled_errors(request.sampling.cfg_scale, model)
    if errors:
        raise InvalidRequest(*errors)


def _distilled_errors(scale: float, model: ModelInfo) -> list[FieldError]:
    most = model.distilled_scale
    if most == 1:
        return [field_error("sampling.distilled", f"must be false: model {model.name} has not learned it", True, False)]
    if not 1 <= scale <= most:
        rule = f"must be from 1 to {most:g} with sampling.distilled: what model {model.name} has learned"
        return [field_error("sampling.cfg_scale", rule, scale, most)]
    return []


def check_candidates(request: GenerateRequest, most: int) -> None:
    """Raises InvalidRequest when more pictures of the request are wanted than this gateway grants."""
    if request.n > most:
        raise InvalidRequest(field_error("n", f"must be at most {most}", request.n, most))


def pages_of(job: Job, model: ModelInfo) -> int | None:
    """Most pages of the context pool that a job holds at once; None where no worker has told enough to know."""
    if model.slots is None:
        return None
    # With classifier-free guidance there is a second branch, without the prompt; of a film in the first frame alone.
    sampling = job.request.sampling
    in_one_pass = sampling.cfg_scale == 1 or (sampling.distilled and not job.is_film)
    is_guided = job.request.prompt is not None and not in_one_pass
    return pages_needed(job.plan(Extent(*model.extent)), model.slots, model.guided_pages if is_guided else 1)


def check_pool(job: Job, model: ModelInfo) -> None:
    """Raises InvalidRequest for a film whose frames are larger than what a worker can look back at."""
    pages = pages_of(job, model) if job.is_film else None
    if pages is not None and model.pool_pages is not None and pages > model.pool_pages:
        size = f"{job.request.width} x {job.request.height}"
        rule = (
            f"times height must be less for a film: {size} takes {pages} pages of the worker's context pool, which has "
            f"{model.pool_pages}"
        )
        raise InvalidRequest(field_error("width", rule, limit=model.pool_pages))


def _film_errors(request: GenerateRequest, model: ModelInfo, max_frames: int) -> list[FieldError]:
    errors = []
    if model.extent[0] == 0:
        rule = f"cannot be {request.resolved_task}: model {model.name} looks at no frame but its own, so makes no films"
        errors.append(field_error("task", rule))
    if request.frames is not None and request.frames > max_frames:
        errors.append(field_error("frames", f"must be at most {max_frames}", request.frames, max_frames))
    for name, side in (("width", request.width), ("height", request.height)):
        if side > FILM_SIDE_MAX_PX:
            errors.append(field_error(name, f"must be at most {FILM_SIDE_MAX_PX} for a film", side, FILM_SIDE_MAX_PX))
    if request.width * request.height > FRAME_MAX_PIXELS:
        rule = f"times height must be at most {FRAME_MAX_PIXELS} pixels for a film"
        errors.append(field_error("width", rule, request.width * request.height, FRAME_MAX_PIXELS))
    return errors


def _size_errors(request: GenerateRequest, max_pixels: int) -> list[FieldError]:
    pixels = request.width * request.height * (request.frames or 1)
    if pixels <= max_pixels:
        return []
    size = f"{request.width} x {request.height} = {pixels}"
    if request.frames is not None:
        rule = f"times width times height must be at most {max_pixels} pixels (got {request.frames} x {size})"
        return [field_error("frames", rule, limit=max_pixels)]
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
