"""From a request, and perhaps a picture, to a job with everything fixed: shared by POST /generate and POST /plan."""

import asyncio
import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime

from canvas.controller import choose_orders
from canvas.grid import Extent
from jobs.job import Job, ModelInfo, layout_of
from jobs.request import SEED_MAX, SIDE_MAX_PX, Extend, GenerateRequest, OrderName, Task
from server.errors import InvalidRequest
from server.gateway import Gateway
from server.limits import check, choose_model
from server.uploads import GIVEN_MAX_PIXELS, GivenPicture, Upload, from_base64, read_picture
from server.wording import FieldError, field_error


@dataclass(frozen=True)
class Prepared:
    """A job that can be submitted, the model that will draw it, and the picture that it extends."""

    job: Job
    model: ModelInfo
    picture: GivenPicture | None


async def prepare(gateway: Gateway, wanted: GenerateRequest, upload: Upload | None) -> Prepared:
    """Check everything and choose what was left open. Raises InvalidRequest, NoWorker, BrokerUnavailable."""
    model = choose_model(await gateway.models(), wanted.model, gateway.settings.default_model)
    wanted, upload = _with_upload(wanted, upload)
    max_pixels = gateway.settings.max_pixels
    if wanted.resolved_task is not Task.IMAGE_OUTPAINTING:
        check(wanted, model, max_pixels)
        return Prepared(_fixed(wanted, model, None), model, None)
    if upload is None:
        raise InvalidRequest(field_error("image", f"is required for task {Task.IMAGE_OUTPAINTING}"))
    async with gateway.converting:
        picture = await asyncio.to_thread(read_picture, upload, min(max_pixels, GIVEN_MAX_PIXELS))
    request, given = place(wanted, picture.width, picture.height)
    check(request, model, max_pixels)
    return Prepared(_fixed(request, model, given), model, picture)


def place(wanted: GenerateRequest, width: int, height: int) -> tuple[GenerateRequest, tuple[int, int, int, int]]:
    """Where a given picture of that size lies in the finished one, and the request with that one's size.

    Raises InvalidRequest.
    """
    has_size = bool({"width", "height"} & wanted.model_fields_set)
    asked = [name for name, is_asked in (("extend", wanted.extend), ("repaint", wanted.repaint)) if is_asked]
    asked += ["width and height"] if has_size else []
    if len(asked) != 1:
        got = " and ".join(asked) or "none of them"
        raise InvalidRequest(field_error("extend", f"or repaint, or width and height, must be given (got {got})"))
    if wanted.repaint is not None:
        return _repainted(wanted, width, height)
    if wanted.extend is not None:
        extend = wanted.extend
    else:
        extend = _towards_size(wanted, width, height)
    left, top = extend.left, extend.top
    whole = (left + width + extend.right, top + height + extend.bottom)
    name = "width" if has_size else "extend"
    if whole == (width, height):
        raise InvalidRequest(field_error(name, "must add at least 1 pixel to the given picture", limit=1))
    if max(whole) > SIDE_MAX_PX:
        rule = f"must make no side longer than {SIDE_MAX_PX} pixels (got {whole[0]} x {whole[1]})"
        raise InvalidRequest(field_error(name, rule, limit=SIDE_MAX_PX))
    fixed = {"task": Task.IMAGE_OUTPAINTING, "image": None, "width": whole[0], "height": whole[1]}
    # What was sent as a size stays a size, so that a fault is told in the words of the request.
    request = wanted.model_copy(update=fixed)
    return request, (left, top, left + width, top + height)


def _repainted(wanted: GenerateRequest, width: int, height: int) -> tuple[GenerateRequest, tuple[int, int, int, int]]:
    area = wanted.repaint
    assert area is not None
    if area.left + area.width > width or area.top + area.height > height:
        raise InvalidRequest(field_error("repaint", f"must lie inside the given picture of {width} x {height} pixels"))
    fixed = {"task": Task.IMAGE_OUTPAINTING, "image": None, "width": width, "height": height}
    return wanted.model_copy(update=fixed), (0, 0, width, height)


def _towards_size(wanted: GenerateRequest, width: int, height: int) -> Extend:
    """What is added on each side to reach the wanted size; a side that was not named stays as it is."""
    added, errors = {}, list[FieldError]()
    for name, own in (("width", width), ("height", height)):
        target = getattr(wanted, name) if name in wanted.model_fields_set else own
        if target < own:
            errors.append(field_error(name, f"must be at least the given picture's {own}", target, own))
        added[name] = max(target - own, 0)
    if errors:
        raise InvalidRequest(*errors)
    left = int(added["width"] * wanted.anchor.share("left", "right"))
    top = int(added["height"] * wanted.anchor.share("top", "bottom"))
    return Extend(left=left, right=added["width"] - left, top=top, bottom=added["height"] - top)


def _with_upload(wanted: GenerateRequest, upload: Upload | None) -> tuple[GenerateRequest, Upload | None]:
    """The picture from wherever it was sent; one without a task makes it image_outpainting."""
    if upload is None:
        return wanted, None if wanted.image is None else from_base64(wanted.image)
    if wanted.image is not None:
        raise InvalidRequest(field_error("image", "must be sent once: as a part of the form, or in base64"))
    task = Task.IMAGE_OUTPAINTING if wanted.task is None else wanted.task
    if task in (Task.UNCONDITIONAL_IMAGE, Task.TEXT_TO_IMAGE):
        raise InvalidRequest(field_error("image", f"is not taken by task {task}"))
    return wanted.model_copy(update={"task": task}), upload


def _fixed(request: GenerateRequest, model: ModelInfo, given: tuple[int, int, int, int] | None) -> Job:
    """Raises InvalidRequest when the order asked for, or every one of the model's, cannot draw this."""
    layout = layout_of(request, model.patch_px, given)
    forced = None if request.order is OrderName.AUTO else request.order.value
    try:
        orders = choose_orders(layout, Extent(*model.extent), model.orders, forced)
    except ValueError as error:
        raise InvalidRequest(field_error("order", str(error), limit=["auto", *model.orders])) from None
    return Job(
        id=new_job_id(),
        request=request,
        seed=secrets.randbelow(SEED_MAX + 1) if request.seed is None else request.seed,
        order="+".join(orders),
        model=model.name,
        patch_px=model.patch_px,
        created_at=datetime.now(UTC),
        given=given,
    )


def new_job_id() -> str:
    """32 hexadecimal digits: 48 bits of time, so that ids sort by age, and 80 bits that nobody can guess."""
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"
