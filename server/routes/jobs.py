"""A job's state, its patches, its result, and its end by DELETE."""

import asyncio
import hashlib
import os
import re
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import FileResponse

from jobs.job import JobState, JobStatus
from server.errors import InvalidRequest, PatchNotFound, ResultGone, ResultNotReady, problems
from server.gateway import Gateway, GatewayDep, JobId
from server.images import ResultFormat, convert
from server.negotiation import attachment, preferred
from server.schemas import JobView
from server.wording import field_error

router = APIRouter(prefix="/jobs/{job_id}", tags=["jobs"])

_IMMUTABLE = "public, max-age=31536000, immutable"
_INDEX = re.compile(r"[0-9]{1,9}")
_BINARY = {"schema": {"type": "string", "format": "binary"}}


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
    "/result",
    summary="The finished picture",
    response_class=Response,
    responses={
        200: {
            "description": "The picture, with prompt, seed, order, model and version written into the file.",
            "content": {wanted.media_type: _BINARY for wanted in ResultFormat},
        },
        206: {"description": "Parts of the PNG (Range, If-Range)."},
        304: {"description": "The picture that the caller has (If-None-Match)."},
        **problems(404, 409, 410, 422, 503),
    },
)
async def result(
    gateway: GatewayDep,
    job_id: JobId,
    request: Request,
    wanted: Annotated[
        ResultFormat | None,
        Query(alias="format", description="Left out: by the Accept header, png if that is no help."),
    ] = None,
    download: Annotated[bool, Query(description="Offer it as a file, named after the prompt.")] = False,
    if_none_match: Annotated[str, Header()] = "",
) -> Response:
    state = await gateway.broker.state(job_id)
    path, stat = await _file(gateway, state)
    width, height = state.job.request.width, state.job.request.height
    if wanted is None:
        offers = {choice.media_type: choice for choice in ResultFormat if choice.limit(width, height) is None}
        wanted = offers[preferred(request.headers.get("accept", ""), tuple(offers))]
    elif reason := wanted.limit(width, height):
        rule, limit = reason
        raise InvalidRequest(field_error("format", f"must be png: {rule}", limit=limit))

    version = f"{stat.st_mtime_ns:x}-{stat.st_size:x}"  # results are put whole and at most once
    etag = f'"{version}"' if wanted is ResultFormat.PNG else f'"{version}-{wanted.value}"'
    headers = {"ETag": etag, "Cache-Control": "private, max-age=3600", "Vary": "Accept"}
    if etag in (tag.strip().removeprefix("W/") for tag in if_none_match.split(",")):
        return Response(status_code=304, headers=headers)
    if download:
        headers["Content-Disposition"] = attachment(state.job.request.prompt or "", wanted.value)
    if wanted is ResultFormat.PNG:
        return FileResponse(path, 200, headers, wanted.media_type, stat_result=stat)  # heeds Range and If-Range
    async with gateway.converting:
        try:
            picture = await asyncio.to_thread(convert, path, wanted)
        except FileNotFoundError:
            raise _no_longer_kept() from None
    return Response(picture, 200, headers, wanted.media_type)


async def _file(gateway: Gateway, state: JobState) -> tuple[Path, os.stat_result]:
    """Where the stored result is. Raises ResultNotReady, ResultGone."""
    match state.status:
        case JobStatus.QUEUED | JobStatus.RUNNING:
            done = f"{state.patches_done} of {state.patches_total} patches are done"
            raise ResultNotReady(f"The job is {state.status.value}: {done}.")
        case JobStatus.FAILED:
            raise ResultGone(f"The job failed and has no result: {state.error}")
        case JobStatus.CANCELED:
            raise ResultGone("The job was canceled and has no result.")
        case JobStatus.SUCCEEDED:
            path = gateway.store.path(state.job.id)
            try:
                return path, await asyncio.to_thread(path.stat)
            except FileNotFoundError:
                raise _no_longer_kept() from None


def _no_longer_kept() -> ResultGone:
    return ResultGone("The result is no longer kept.")
