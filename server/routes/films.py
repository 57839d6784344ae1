"""A film while it is made: the stream that plays what is there, and its frames."""

import hashlib
import re

from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse

from server.errors import FrameNotFound, problems
from server.films import frame_png, growing_film
from server.gateway import GatewayDep, JobId

router = APIRouter(prefix="/jobs/{job_id}", tags=["films"])

_INDEX = re.compile(r"[0-9]{1,9}")
_BINARY = {"schema": {"type": "string", "format": "binary"}}


@router.get(
    "/film",
    summary="A film as it grows",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "MP4 in fragments; ends with the job. The Content-Type names the codec, for MediaSource.",
            "content": {"video/mp4": _BINARY},
        },
        206: {"description": "Parts of it (Range, If-Range), once the job has ended."},
        **problems(404, 409, 410, 416, 503),
    },
)
async def film(gateway: GatewayDep, job_id: JobId) -> Response:
    """Plays in anything that plays MP4, from the first frame on; a job that was canceled ends where it stood."""
    return await growing_film(gateway, await gateway.broker.state(job_id))


@router.get(
    "/frames/{index}",
    summary="A frame of a film",
    response_class=Response,
    responses={200: {"description": "PNG.", "content": {"image/png": _BINARY}}, **problems(404, 503)},
)
async def frame(gateway: GatewayDep, job_id: JobId, index: str) -> Response:
    """Its final pixels, as soon as it is complete. Frames are counted from 0."""
    state = await gateway.broker.state(job_id)
    if not _INDEX.fullmatch(index):
        raise FrameNotFound("Frames are counted from 0.")
    async with gateway.converting:
        png = await frame_png(gateway.broker, state.job, int(index))
    headers = {"ETag": f'"{hashlib.sha256(png).hexdigest()}"', "Cache-Control": "private, max-age=3600, immutable"}
    return Response(png, 200, headers, "image/png")
