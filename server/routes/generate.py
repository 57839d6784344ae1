"""POST /generate: a request becomes a job in the queue."""

import asyncio
import contextlib
from typing import Annotated, Any

from fastapi import APIRouter, Body, Header, Query, Request, Response

from jobs.broker.base import LOG_START
from jobs.errors import BrokerUnavailable, IdempotencyKeyReused, QueueFull
from jobs.job import JobState, JobStatus
from jobs.request import GenerateRequest
from server.errors import InvalidRequest, problems
from server.forms import FORM, FormRoute
from server.gateway import Gateway, GatewayDep
from server.groups import candidates, is_ended
from server.idempotency import HEADER, REPLAYED, claim, made_before
from server.negotiation import preferred, wait_seconds
from server.prepare import Prepared, prepare
from server.schemas import GroupView, JobView, group_path, job_path
from server.sse import EVENT_SCHEMA, MEDIA_TYPE, EventStream, Pixels
from server.uploads import Files
from server.wording import field_error

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
                        "image": {
                            "type": "string",
                            "format": "binary",
                            "description": "PNG, JPEG, WebP or AVIF; a film to go on with as GIF, WebP, MP4 or WebM.",
                        },
                        "mask": {
                            "type": "string",
                            "format": "binary",
                            "description": "As large as image; white where it is drawn anew.",
                        },
                    },
                }
            }
        }
    }
}


@router.post(
    "/generate",
    status_code=202,
    response_model=JobView | GroupView,
    summary="Start a picture",
    response_description="Accepted; the job waits for a worker or runs already. With n of 2 or more: a group of jobs.",
    responses={
        200: {
            "description": "Ended within `Prefer: wait=N`; or the event stream, with `Accept: text/event-stream`.",
            "model": JobView | GroupView,
            "content": {MEDIA_TYPE: {"schema": EVENT_SCHEMA}},
        },
        202: {"headers": {"Location": {"description": "The path of the job or group.", "schema": {"type": "string"}}}},
        **problems(400, 404, 409, 413, 415, 422, 429, 503),
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
    prefer: Annotated[str, Header(description="`wait=N` waits up to N seconds (1 to 60) for the end.")] = "",
    key: Annotated[
        str, Header(alias=HEADER, description="The same key and request again give the job or group that exists.")
    ] = "",
) -> JobView | GroupView | Response:
    """The same request and seed give the same bytes. Sizes are in pixels and need not be multiples of the patch."""
    streams = preferred(request.headers.get("accept", ""), ("application/json", MEDIA_TYPE)) == MEDIA_TYPE
    if streams and wanted.n > 1:
        raise InvalidRequest(field_error("n", "must be 1 for an event stream: each candidate has its own", wanted.n, 1))
    states, headers = await _accepted(gateway, wanted, request.state.files, key)
    first = states[0].job
    if streams:
        watching = contextlib.ExitStack()
        feed = watching.enter_context(gateway.feeds.watch(first.id))
        pages = gateway.feeds.follow(feed, LOG_START, pixels)
        return EventStream(pages, watching, headers, gateway.settings.ping_s)

    wait_s = wait_seconds(prefer)
    if wait_s is not None:
        await asyncio.gather(*(gateway.feeds.until_ended(state.job.id, wait_s) for state in states))
        headers["Preference-Applied"] = f"wait={wait_s}"
    with contextlib.suppress(BrokerUnavailable):  # it is accepted: an error now would make callers send it again
        states = await asyncio.gather(*(gateway.broker.state(state.job.id) for state in states))
    response.headers.update(headers)
    response.status_code = 200 if wait_s is not None and is_ended(states) else 202
    return JobView.of(states[0]) if first.candidate is None else GroupView.of(states)


async def _accepted(
    gateway: Gateway, wanted: GenerateRequest, files: Files, key: str
) -> tuple[list[JobState], dict[str, str]]:
    """The job, or the candidates of the group, that the request gets, and headers that say so."""
    claimed = claim(key, wanted, files)
    first = None if claimed is None else await made_before(gateway, claimed)
    replayed = REPLAYED if first is not None else {}
    if first is None:
        states = await _submit(gateway, await prepare(gateway, wanted, files, claimed))
        first = states[0].job
    elif first.candidate is None:
        states = [await gateway.broker.state(first.id)]
    else:
        states = await candidates(gateway.broker, first.candidate.group)
    path = job_path(first.id) if first.candidate is None else group_path(first.candidate.group)
    return states, {"Location": path, **replayed}


async def _submit(gateway: Gateway, prepared: Prepared) -> list[JobState]:
    """The jobs as they were queued, all or none. Raises QueueFull, IdempotencyKeyReused, BrokerUnavailable."""
    jobs = prepared.jobs
    await asyncio.to_thread(prepared.keep, gateway.store)  # first: whoever takes a job finds it
    try:
        await gateway.broker.submit_all([(job, job.total) for job in jobs])
    except (QueueFull, IdempotencyKeyReused):
        await asyncio.to_thread(prepared.forget, gateway.store)
        raise
    for job in jobs:
        gateway.metrics.submitted(job.id)
    return [JobState(job=job, status=JobStatus.QUEUED, patches_total=job.total) for job in jobs]
