"""POST /generate: a request becomes a job in the queue."""

import asyncio
import contextlib
from typing import Annotated, Any

from fastapi import APIRouter, Body, Header, Query, Request, Response

from jobs.broker.base import LOG_START
from jobs.errors import BrokerUnavailable, QueueFull
from jobs.job import ENDED, JobState, JobStatus
from jobs.request import GenerateRequest
from server.errors import problems
from server.forms import FORM, FormRoute
from server.gateway import Gateway, GatewayDep
from server.negotiation import preferred, wait_seconds
from server.prepare import Prepared, prepare
from server.schemas import JobView, job_path
from server.sse import EVENT_SCHEMA, MEDIA_TYPE, EventStream, Pixels

router = APIRouter(tags=["jobs"], route_class=FormRoute)

EXAMPLES: dict[str, Any] = {
    "prompt": {"summary": "A prompt", "value": {"prompt": "snowy mountains at sunset with a lake"}},
    "panorama": {
        "summary": "A wide one, repeatable",
        "value": {"prompt": "rolling dunes under a full moon", "width": 2048, "height": 256, "seed": 7},
    },
    "free": {"summary": "Whatever the model likes", "value": {"width": 512, "height": 512}},
    "extend": {
        "summary": "A picture, made wider",
        "value": {
            "task": "image_outpainting",
            "prompt": "rolling dunes at noon",
            "image": "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGPouHwPAAUMAofL2XWPAAAAAElFTkSuQmCC",
            "extend": {"left": 64, "right": 128},
        },
    },
    "target": {
        "summary": "A picture in the middle of a larger one",
        "value": {
            "image": "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGPouHwPAAUMAofL2XWPAAAAAElFTkSuQmCC",
            "width": 256,
            "height": 256,
            "anchor": "center",
        },
    },
}
FORM_BODY: dict[str, Any] = {
    "requestBody": {
        "content": {
            FORM: {
                "schema": {
                    "type": "object",
                    "properties": {
                        "request": {
                            "$ref": "#/components/schemas/GenerateRequest",
                            "description": "The same JSON without `image`; may be left out.",
                        },
                        "image": {"type": "string", "format": "binary", "description": "PNG, JPEG, WebP or AVIF."},
                    },
                }
            }
        }
    }
}


@router.post(
    "/generate",
    status_code=202,
    response_model=JobView,
    summary="Start a picture",
    response_description="Accepted; the job waits for a worker or runs already.",
    responses={
        200: {
            "description": "Ended within `Prefer: wait=N`; or the event stream, with `Accept: text/event-stream`.",
            "model": JobView,
            "content": {MEDIA_TYPE: {"schema": EVENT_SCHEMA}},
        },
        202: {"headers": {"Location": {"description": "The job's path.", "schema": {"type": "string"}}}},
        **problems(400, 413, 415, 422, 429, 503),
    },
    openapi_extra=FORM_BODY,
)
async def generate(
    gateway: GatewayDep,
    request: Request,
    response: Response,
    wanted: Annotated[GenerateRequest, Body(openapi_examples=EXAMPLES)],
    pixels: Annotated[
        Pixels, Query(description="Of streamed patches: inside events, or as addresses.")
    ] = Pixels.INLINE,
    prefer: Annotated[str, Header(description="`wait=N` waits up to N seconds (1 to 60) for the job to end.")] = "",
) -> JobView | Response:
    """The same request and seed give the same bytes. Sizes are in pixels and need not be multiples of the patch."""
    state = await _submit(gateway, await prepare(gateway, wanted, request.state.upload))
    job_id = state.job.id
    location = {"Location": job_path(job_id)}
    if preferred(request.headers.get("accept", ""), ("application/json", MEDIA_TYPE)) == MEDIA_TYPE:
        watching = contextlib.ExitStack()
        feed = watching.enter_context(gateway.feeds.watch(job_id))
        pages = gateway.feeds.follow(feed, LOG_START, pixels)
        return EventStream(pages, watching, location, gateway.settings.ping_s)

    wait_s = wait_seconds(prefer)
    if wait_s is not None:
        await gateway.feeds.until_ended(job_id, wait_s)
        response.headers["Preference-Applied"] = f"wait={wait_s}"
    with contextlib.suppress(BrokerUnavailable):  # the job is accepted: an error now would make callers send it again
        state = await gateway.broker.state(job_id)
    response.headers.update(location)
    response.status_code = 200 if wait_s is not None and state.status in ENDED else 202
    return JobView.of(state)


async def _submit(gateway: Gateway, prepared: Prepared) -> JobState:
    """The job as it was put into the queue. Raises QueueFull, BrokerUnavailable."""
    job, picture = prepared.job, prepared.picture
    if picture is not None:  # first: whoever takes the job finds it
        await asyncio.to_thread(gateway.store.put, job.id, picture.png, "given")
    try:
        await gateway.broker.submit(job, job.total)
    except QueueFull:
        if picture is not None:
            await asyncio.to_thread(gateway.store.delete, job.id, "given")
        raise
    gateway.metrics.submitted(job.id)
    return JobState(job=job, status=JobStatus.QUEUED, patches_total=job.total)
