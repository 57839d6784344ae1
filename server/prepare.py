"""From a request, and perhaps a picture or film, to a job with everything fixed: for POST /generate and POST /plan."""

import asyncio
import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime

from canvas.controller import choose_orders
from canvas.grid import Extent
from jobs.job import Candidate, Job, ModelInfo, candidate_id, layout_of
from jobs.request import (
    FILM_TASKS,
    FPS,
    FPS_MAX,
    FRAMES,
    SEED_MAX,
    SIDE_MAX_PX,
    Extend,
    GenerateRequest,
    OrderName,
    Task,
)
from jobs.store import ResultStore
from server.errors import FrameNotFound, InvalidRequest, ResultGone
from server.files import no_longer_kept, result_file
from server.films import frame_png
from server.gateway import Gateway, known_id
from server.given_films import PICTURE_OR_FILM, kind_of_film, read_last_frame
from server.idempotency import Claim
from server.limits import check, check_candidates, check_pool, choose_model
from server.masks import Mask, read_mask
from server.uploads import GIVEN_MAX_PIXELS, PICTURE, Files, GivenPicture, Upload, from_base64, read_picture
from server.wording import FieldError, field_error


@dataclass(frozen=True)
class Prepared:
    """What can be submitted: a job, or the candidates of a group; the model that draws, the picture to go on from."""

    jobs: tuple[Job, ...]
    model: ModelInfo
    picture: GivenPicture | None = None
    mask: Mask | None = None

    @property
    def job(self) -> Job:
        """The only one, or the first candidate: all differ in their seeds alone."""
        return self.jobs[0]

    def keep(self, store: ResultStore) -> None:
        """Put picture and mask where the jobs' workers look for them. Blocks."""
        for job in self.jobs:
            if self.picture is not None:
                store.put(job.id, self.picture.png, "given")
            if self.mask is not None:
                store.put(job.id, self.mask.png, "mask")

    def forget(self, store: ResultStore) -> None:
        """Undo keep(). Blocks."""
        for job in self.jobs:
            store.delete(job.id, "given")
            store.delete(job.id, "mask")


async def prepare(gateway: Gateway, wanted: GenerateRequest, files: Files, claimed: Claim | None = None) -> Prepared:
    """Check everything and choose what was left open.

    Raises InvalidRequest, NoWorker, BrokerUnavailable; JobNotFound, ResultNotReady of a job to go on from.
    """
    model = choose_model(await gateway.models(), wanted.model, gateway.settings.default_model)
    check_candidates(wanted, gateway.settings.max_candidates)
    wanted, upload = _with_upload(_with_guidance(wanted), files.image)
    painted = _mask_of(wanted, files.mask)
    wanted = _with_length(wanted)
    limits = gateway.settings.max_pixels, gateway.settings.max_frames
    if wanted.resolved_task not in (Task.IMAGE_OUTPAINTING, Task.IMAGE_ANIMATION):
        wanted = _with_rate(wanted, None)
        check(wanted, model, *limits)
        return Prepared(_jobs(_fixed(wanted, model, None), claimed), model)
    picture = await _given(gateway, wanted, upload)
    wanted = _with_rate(wanted, picture.fps)
    mask = None
    if painted is not None:
        mask = await _mask(gateway, painted, picture)
        wanted = wanted.model_copy(update={"mask": None, "repaint": mask.area})
    to_place = place_first if wanted.resolved_task is Task.IMAGE_ANIMATION else place
    request, given = to_place(wanted, picture.width, picture.height)
    check(request, model, *limits)
    return Prepared(_jobs(_fixed(request, model, given, mask), claimed), model, picture, mask)


async def _given(gateway: Gateway, wanted: GenerateRequest, upload: Upload | None) -> GivenPicture:
    """The picture to go on from: one that was sent, or that of a finished job; of a film its last frame."""
    max_pixels = min(gateway.settings.max_pixels, GIVEN_MAX_PIXELS)
    is_first = wanted.resolved_task is Task.IMAGE_ANIMATION
    if wanted.job is not None:
        return await _drawn(gateway, wanted.job, max_pixels, is_first)
    if upload is None:
        raise InvalidRequest(field_error("image", f"is required for task {wanted.resolved_task}"))
    film = kind_of_film(upload.data)
    if film is not None and not is_first:
        rule = (
            f"must be a still picture for task {wanted.resolved_task} (got {film}): image_animation goes on with films"
        )
        raise InvalidRequest(field_error("image", rule))
    async with gateway.converting:
        if film is not None:
            return await asyncio.to_thread(read_last_frame, upload, film, max_pixels)
        return await asyncio.to_thread(read_picture, upload, max_pixels, PICTURE_OR_FILM if is_first else PICTURE)


async def _mask(gateway: Gateway, painted: Upload, picture: GivenPicture) -> Mask:
    async with gateway.converting:
        return await asyncio.to_thread(read_mask, painted, picture, picture.width * picture.height)


async def _drawn(gateway: Gateway, job_id: str, max_pixels: int, is_first: bool) -> GivenPicture:
    """The result of another job; of a film its last frame, if it is to be the first of another one.

    Raises JobNotFound, ResultNotReady, InvalidRequest.
    """
    state = await gateway.broker.state(known_id(job_id))
    source = state.job.request
    if state.job.is_film and not is_first:
        raise InvalidRequest(field_error("job", "must be that of a picture (got that of a film)"))
    if source.width * source.height > max_pixels:
        rule = f"must hold at most {max_pixels} pixels (got {source.width} x {source.height})"
        raise InvalidRequest(field_error("job", rule, limit=max_pixels))
    try:
        path, _ = await result_file(gateway, state)
        async with gateway.converting:
            if state.job.is_film:
                png = await frame_png(gateway.broker, state.job, state.job.layout.grid.frames - 1)
            else:
                png = await asyncio.to_thread(path.read_bytes)
            return GivenPicture(png, source.width, source.height, source.fps)
    except (ResultGone, FrameNotFound, FileNotFoundError) as error:
        why = str(no_longer_kept()) if isinstance(error, FileNotFoundError) else str(error)
        raise InvalidRequest(field_error("job", f"must have a picture: {why}")) from None


def place(wanted: GenerateRequest, width: int, height: int) -> tuple[GenerateRequest, tuple[int, int, int, int]]:
    """Where a given picture of that size lies in the finished one, and the request with that one's size.

    Raises InvalidRequest.
    """
    has_size = bool({"width", "height"} & wanted.model_fields_set)
    asked = [name for name, is_asked in (("extend", wanted.extend), ("repaint", wanted.repaint)) if is_asked]
    asked += ["width and height"] if has_size else []
    if len(asked) != 1:
        got = " and ".join(asked) or "none of them"
        raise InvalidRequest(
            field_error("extend", f"or repaint, or mask, or width and height, must be given (got {got})")
        )
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


def place_first(wanted: GenerateRequest, width: int, height: int) -> tuple[GenerateRequest, tuple[int, int, int, int]]:
    """The same for a given picture of that size that is the first frame of a film. Raises InvalidRequest."""
    errors = [
        field_error(name, f"must be the given picture's {own}, or be left out", getattr(wanted, name), own)
        for name, own in (("width", width), ("height", height))
        if name in wanted.model_fields_set and getattr(wanted, name) != own
    ]
    if errors:
        raise InvalidRequest(*errors)
    fixed = {"task": Task.IMAGE_ANIMATION, "image": None, "width": width, "height": height}
    return wanted.model_copy(update=fixed), (0, 0, width, height)


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
    """The picture or film from wherever it was sent. Without a task a picture is extended, and a film goes on."""
    if upload is not None:
        if wanted.job is not None:
            raise InvalidRequest(field_error("job", "must be left out where an image is sent"))
        if wanted.image is not None:
            raise InvalidRequest(field_error("image", "must be sent once: as a part of the form, or in base64"))
        still = Task.IMAGE_OUTPAINTING if wanted.frames is None and wanted.fps is None else Task.IMAGE_ANIMATION
        task = still if wanted.task is None else wanted.task
        if task not in (Task.IMAGE_OUTPAINTING, Task.IMAGE_ANIMATION):
            raise InvalidRequest(field_error("image", f"is not taken by task {task}"))
    elif wanted.image is not None:
        upload, task = from_base64(wanted.image), wanted.resolved_task
    else:
        return wanted, None
    is_extended = bool({"extend", "anchor", "repaint", "mask"} & wanted.model_fields_set)
    if wanted.task is None and not is_extended and kind_of_film(upload.data) is not None:
        task = Task.IMAGE_ANIMATION
    return wanted.model_copy(update={"task": task}), upload


def _mask_of(wanted: GenerateRequest, mask: Upload | None) -> Upload | None:
    """The mask from wherever it was sent. Raises InvalidRequest."""
    if mask is None and wanted.mask is None:
        return None
    if mask is not None and wanted.mask is not None:
        raise InvalidRequest(field_error("mask", "must be sent once: as a part of the form, or in base64"))
    if wanted.resolved_task is not Task.IMAGE_OUTPAINTING:
        raise InvalidRequest(field_error("mask", f"is not taken by task {wanted.resolved_task}"))
    has_size = bool({"width", "height"} & wanted.model_fields_set)
    if wanted.extend is not None or wanted.repaint is not None or has_size:
        raise InvalidRequest(
            field_error("mask", "must be left out where extend, repaint, or width and height are given")
        )
    return mask if wanted.mask is None else from_base64(wanted.mask, "mask")


def _with_length(wanted: GenerateRequest) -> GenerateRequest:
    """A film with what it leaves open of its length. Raises InvalidRequest for one without picture or words."""
    if wanted.resolved_task not in FILM_TASKS:
        return wanted
    if wanted.resolved_task is Task.TEXT_TO_VIDEO and wanted.prompt is None:
        raise InvalidRequest(field_error("prompt", "is required for task text_to_video"))
    return wanted.model_copy(update={"task": wanted.resolved_task, "frames": wanted.frames or FRAMES})


def _with_rate(wanted: GenerateRequest, given_fps: float | None) -> GenerateRequest:
    """A film with its rate: the one asked for, else that of the film that it goes on from. Raises InvalidRequest."""
    if wanted.resolved_task not in FILM_TASKS or wanted.fps is not None:
        return wanted
    fps = FPS if given_fps is None else round(given_fps)
    if not 1 <= fps <= FPS_MAX:
        rule = f"must be given, from 1 to {FPS_MAX}: the film's own is {given_fps:.3g}"
        raise InvalidRequest(field_error("fps", rule, limit=FPS_MAX))
    return wanted.model_copy(update={"fps": fps})


def _with_guidance(wanted: GenerateRequest) -> GenerateRequest:
    """guidance_scale under its other name."""
    if wanted.guidance_scale is None:
        return wanted
    sampling = wanted.sampling.model_copy(update={"cfg_scale": wanted.guidance_scale})
    return wanted.model_copy(update={"sampling": sampling, "guidance_scale": None})


def _fixed(
    request: GenerateRequest, model: ModelInfo, given: tuple[int, int, int, int] | None, mask: Mask | None = None
) -> Job:
    """Raises InvalidRequest when the order asked for, or every one of the model's, cannot draw this."""
    spared = () if mask is None else mask.spared(model.patch_px)
    layout = layout_of(request, model.patch_px, given, spared)
    forced = None if request.order is OrderName.AUTO else request.order.value
    try:
        orders = choose_orders(layout, Extent(*model.extent), model.orders, forced)
    except ValueError as error:
        raise InvalidRequest(field_error("order", str(error), limit=["auto", *model.orders])) from None
    job = Job(
        id=new_job_id(),
        request=request,
        seed=secrets.randbelow(SEED_MAX + 1) if request.seed is None else request.seed,
        order="+".join(orders),
        model=model.name,
        patch_px=model.patch_px,
        created_at=datetime.now(UTC),
        given=given,
        masked=mask is not None,
        spared=spared,
    )
    check_pool(job, model)
    return job


def _jobs(job: Job, claimed: Claim | None) -> tuple[Job, ...]:
    """The job, or the candidates of a group of which it is the pattern, under the id that a key has claimed."""
    if claimed is not None:
        job = job.model_copy(update={"id": claimed.id, "claim": claimed.name, "digest": claimed.digest})
    count = job.request.n
    return (job,) if count == 1 else tuple(_candidate(job, place, count) for place in range(count))


def _candidate(job: Job, place: int, count: int) -> Job:
    seed = (job.seed + place) % (SEED_MAX + 1)
    own = {
        "id": candidate_id(job.id, place),
        "request": job.request.model_copy(update={"n": 1, "seed": seed}),
        "seed": seed,
        "candidate": Candidate(group=job.id, place=place, n=count),
    }
    return job.model_copy(update=own)


def new_job_id() -> str:
    """32 hexadecimal digits: 48 bits of time, so that ids sort by age, and 80 bits that nobody can guess."""
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"
