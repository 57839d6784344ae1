"""POST /generate: a request becomes a job in the queue."""

import contextlib
import secrets
import time
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Body, Header, Query, Request, Response

from jobs.broker.base import LOG_START
from jobs.errors import BrokerUnavailable
from jobs.job import ENDED, Job, JobState, JobStatus
from jobs.request import SEED_MAX, GenerateRequest
from server.errors import problems
from server.gateway import Gateway, GatewayDep
from server.limits import check, choose_model, resolve_order
from server.negotiation import preferred, wait_seconds
from server.schemas import JobView, job_path
from server.sse import EVENT_SCHEMA, MEDIA_TYPE, EventStream, Pixels

router = APIRouter(tags=["jobs"])

_EXAMPLES = {
    "prompt": {"summary": "A prompt", "value": {"prompt": "snowy mountains at sunset with a lake"}},
    "panorama": {
        "summary": "A wide one, repeatable",
        "value": {"prompt": "rolling dunes under a full moon", "width": 2048, "height": 256, "seed": 7},
    },
    "free": {"summary": "Whatever the model likes", "value": {"width": 512, "height": 512}},
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
)
async def generate(
    gateway: GatewayDep,
    request: Request,
    response: Response,
    wanted: Annotated[GenerateRequest, Body(openapi_examples=_EXAMPLES)],
    pixels: Annotated[
        Pixels, Query(description="Of streamed patches: inside events, or as addresses.")
    ] = Pixels.INLINE,
    prefer: Annotated[str, Header(description="`wait=N` waits up to N seconds (1 to 60) for the job to end.")] = "",
) -> JobView | Response:
    """The same request and seed give the same bytes. Sizes are in pixels and need not be multiples of the patch."""
    state = await _submit(gateway, wanted)
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


async def _submit(gateway: Gateway, wanted: GenerateRequest) -> JobState:
    """The job as it was put into the queue. Raises InvalidRequest, NoWorker, QueueFull, BrokerUnavailable."""
    model = choose_model(await gateway.models(), wanted.model, gateway.settings.default_model)
    check(wanted, model, gateway.settings.max_pixels)
    job = Job(
        id=new_job_id(),
        request=wanted,
        seed=secrets.randbelow(SEED_MAX + 1) if wanted.seed is None else wanted.seed,
        order=resolve_order(wanted, model),
        model=model.name,
        patch_px=model.patch_px,
        created_at=datetime.now(UTC),
    )
    total = wanted.patch_count(model.patch_px)
    await gateway.broker.submit(job, total)
    gateway.metrics.submitted(job.id)
    return JobState(job=job, status=JobStatus.QUEUED, patches_total=total)


def new_job_id() -> str:
    """32 hexadecimal digits: 48 bits of time, so that ids sort by age, and 80 bits that nobody can guess."""
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"
