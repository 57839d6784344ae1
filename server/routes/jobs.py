"""A job's state, its patches, its result, and its end by DELETE."""

import asyncio
import hashlib
import re
from enum import StrEnum
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response

from jobs.store import Kind
from server.errors import InvalidRequest, NoGivenPicture, PatchNotFound, ResultGone, problems
from server.files import StoredFile, no_longer_kept, result_file
from server.films import FilmFormat, film_file
from server.gateway import Gateway, GatewayDep, JobId
from server.images import ResultFormat, convert
from server.negotiation import attachment, preferred
from server.schemas import JobView
from server.wording import field_error

router = APIRouter(prefix="/jobs/{job_id}", tags=["jobs"])

_IMMUTABLE = "public, max-age=31536000, immutable"
_INDEX = re.compile(r"[0-9]{1,9}")
_BINARY = {"schema": {"type": "string", "format": "binary"}}


class FileFormat(StrEnum):
    """What a result can be asked for as: a picture as the first three, a film as the last four."""

    PNG = "png"
    JPEG = "jpeg"
    WEBP = "webp"
    MP4 = "mp4"
    WEBM = "webm"
    GIF = "gif"


@router.get("", summary="A job as it stands now", responses=problems(404, 503))
async def job(gateway: GatewayDep, job_id: JobId, response: Response) -> JobView:
    response.headers["Cache-Control"] = "no-store"
    return JobView.of(await gateway.broker.state(job_id))


@router.delete("", summary="Cancel a job", responses=problems(404, 503))
async def cancel(gateway: GatewayDep, job_id: JobId) -> JobView:
    """Idempotent: a job that has ended stays as it is. A running one ends before its next patch; patches stay."""
    return JobView.of(await gateway.broker.cancel(job_id))


@router.get(
    "/patches/{index}.webp",
    summary="The pixels of one patch",
    response_class=Response,
    responses={200: {"description": "Lossless WebP.", "content": {"image/webp": _BINARY}}, **problems(404, 503)},
)
async def patch(
    gateway: GatewayDep,
    job_id: JobId,
    index: str,
    v: Annotated[str, Query(description="First digits of the sha256 of the version wanted, refined or first.")] = "",
) -> Response:
    """The refined version if it exists, else the first. With `v` the answer never changes and may be kept for ever."""
    if _INDEX.fullmatch(index):
        for image in await gateway.broker.images(job_id, [(int(index), True), (int(index), False)]):
            sha256 = hashlib.sha256(image).hexdigest() if image is not None else ""
            if image is not None and sha256.startswith(v):
                headers = {"ETag": f'"{sha256}"', "Cache-Control": _IMMUTABLE if len(v) >= 16 else "no-cache"}
                return Response(image, 200, headers, "image/webp")
    await gateway.broker.state(job_id)  # an unknown job is another error than an unknown patch
    raise PatchNotFound("There is no such patch yet, or no version of it with this hash.")


@router.get(
    "/given",
    summary="The picture that the job goes on from",
    response_class=Response,
    responses={
        200: {"description": "As the job uses it: upright 8-bit RGB.", "content": {"image/png": _BINARY}},
        206: {"description": "Parts of it (Range, If-Range)."},
        **problems(404, 410, 416, 503),
    },
)
async def given(gateway: GatewayDep, job_id: JobId) -> Response:
    if (await gateway.broker.state(job_id)).job.given is None:
        raise NoGivenPicture("No picture came with the request of this job.")
    return await _sent(gateway, job_id, "given")


@router.get(
    "/mask",
    summary="Which part of the given picture is drawn anew",
    response_class=Response,
    responses={
        200: {"description": "As large as the given picture, white where it is drawn anew.",
              "content": {"image/png": _BINARY}},
        206: {"description": "Parts of it (Range, If-Range)."},
        **problems(404, 410, 416, 503),
    },
)  # fmt: skip
async def mask(gateway: GatewayDep, job_id: JobId) -> Response:
    if not (await gateway.broker.state(job_id)).job.masked:
        raise NoGivenPicture("No mask came with the request of this job.")
    return await _sent(gateway, job_id, "mask")


async def _sent(gateway: Gateway, job_id: str, kind: Kind) -> Response:
    """A picture that came with a job's request. Raises ResultGone."""
    path = gateway.store.path(job_id, kind)
    try:
        stat = await asyncio.to_thread(path.stat)
    except FileNotFoundError:
        raise ResultGone("The picture that was given is no longer kept.") from None
    return StoredFile(path, 200, {"Cache-Control": "private, max-age=3600"}, "image/png", stat_result=stat)


@router.get(
    "/result",
    summary="The finished picture or film",
    response_class=Response,
    responses={
        200: {
            "description": "The picture, with prompt, seed, order, model and version written into the file; or the "
            "film, in MP4 and WebM with the same.",
            "content": {wanted.media_type: _BINARY for wanted in (*ResultFormat, *FilmFormat)},
        },
        206: {"description": "Parts of the PNG, or of a film in any format (Range, If-Range)."},
        304: {"description": "What the caller has (If-None-Match)."},
        **problems(404, 409, 410, 416, 422, 503),
    },
)
async def result(
    gateway: GatewayDep,
    job_id: JobId,
    request: Request,
    named: Annotated[
        FileFormat | None,
        Query(
            alias="format",
            description="Of a picture png, webp or jpeg, of a film mp4, webm, webp or gif. Left out: by the Accept "
            "header, the first of these if that is no help.",
        ),
    ] = None,
    download: Annotated[bool, Query(description="Offer it as a file, named after the prompt.")] = False,
    if_none_match: Annotated[str, Header()] = "",
) -> Response:
    state = await gateway.broker.state(job_id)
    accept = request.headers.get("accept", "")
    if state.job.is_film:
        wanted: ResultFormat | FilmFormat = _film_format(named, accept)
    else:
        wanted = _picture_format(named, accept, state.job.request.width, state.job.request.height)
    path, stat = await result_file(gateway, state)
    if isinstance(wanted, FilmFormat):
        path, stat = await film_file(gateway, state.job, wanted)
    is_stored = state.job.is_film or wanted is ResultFormat.PNG
    version = f"{stat.st_mtime_ns:x}-{stat.st_size:x}"  # results are put whole and at most once
    etag = f'"{version}"' if is_stored else f'"{version}-{wanted.value}"'
    headers = {"ETag": etag, "Cache-Control": "private, max-age=3600", "Vary": "Accept"}
    if etag in (tag.strip().removeprefix("W/") for tag in if_none_match.split(",")):
        return Response(status_code=304, headers=headers)
    if download:
        headers["Content-Disposition"] = attachment(state.job.request.prompt or "", wanted.value)
    if is_stored or isinstance(wanted, FilmFormat):
        return StoredFile(path, 200, headers, wanted.media_type, stat_result=stat)
    async with gateway.converting:
        try:
            picture = await asyncio.to_thread(convert, path, wanted)
        except FileNotFoundError:
            raise no_longer_kept() from None
    return Response(picture, 200, headers, wanted.media_type)


def _picture_format(named: FileFormat | None, accept: str, width: int, height: int) -> ResultFormat:
    """Raises InvalidRequest."""
    if named is None:
        offers = {choice.media_type: choice for choice in ResultFormat if choice.limit(width, height) is None}
        return offers[preferred(accept, tuple(offers))]
    if named.value not in list(ResultFormat):
        raise InvalidRequest(field_error("format", "must be png, webp or jpeg for a picture", named, [*ResultFormat]))
    wanted = ResultFormat(named.value)
    if reason := wanted.limit(width, height):
        rule, limit = reason
        raise InvalidRequest(field_error("format", f"must be png: {rule}", limit=limit))
    return wanted


def _film_format(named: FileFormat | None, accept: str) -> FilmFormat:
    """Raises InvalidRequest."""
    if named is None:
        offers = {choice.media_type: choice for choice in FilmFormat}
        return offers[preferred(accept, tuple(offers))]
    if named.value not in list(FilmFormat):
        raise InvalidRequest(field_error("format", "must be mp4, webm, webp or gif for a film", named, [*FilmFormat]))
    return FilmFormat(named.value)
