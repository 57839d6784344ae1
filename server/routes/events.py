"""GET /jobs/{id}/events: a job's event log as server-sent events, resumable at any event."""

from contextlib import ExitStack
from typing import Annotated

from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import StreamingResponse

from jobs.broker.base import LOG_START
from jobs.job import ENDED
from server.errors import MalformedCursor, problems
from server.gateway import GatewayDep, JobId
from server.sse import EVENT_SCHEMA, MEDIA_TYPE, EventStream, Pixels

router = APIRouter(tags=["jobs"])

_EXAMPLE = (
    "retry: 2000\n\n"
    'id: 1763906400000-0\nevent: job.queued\ndata: {"version":1,"kind":"job.queued"}\n\n'
    'id: 1763906400512-0\nevent: patch\ndata: {"version":1,"kind":"patch","index":0,"frame":0,"row":0,"column":0,'
    '"box":[0,0,64,64],"done":1,"total":32,"sha256":"9f86...","image":"data:image/webp;base64,UklGR..."}\n\n'
)


@router.get(
    "/jobs/{job_id}/events",
    summary="Watch a job",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "Events from the cursor on, and then as they happen; the terminal event ends the stream.",
            "content": {MEDIA_TYPE: {"schema": EVENT_SCHEMA, "example": _EXAMPLE}},
        },
        204: {"description": "The terminal event lies before the cursor: nothing more will come."},
        **problems(400, 404, 422, 503),
    },
)
async def events(
    gateway: GatewayDep,
    job_id: JobId,
    header: Annotated[str, Header(alias="Last-Event-ID", description="Go on after this event.")] = "",
    query: Annotated[
        str, Query(alias="last_event_id", description="The same, for callers that cannot set headers; the header wins.")
    ] = "",
    pixels: Annotated[
        Pixels, Query(description="Of patches: inside the event, or as the address of a file.")
    ] = Pixels.INLINE,
) -> Response:
    """`data` is the event as JSON; patches carry pixels as `image` (a data URL) or `url`. Leaving cancels nothing."""
    after = header or query or LOG_START
    state = await gateway.broker.state(job_id)  # before the log: a job that ends in between is streamed to its end
    with ExitStack() as stack:
        feed = stack.enter_context(gateway.feeds.watch(job_id))
        try:
            page = await gateway.feeds.page(feed, after, pixels)
        except ValueError as error:
            raise MalformedCursor(f"Last-Event-ID is not an event's id: {error}.") from None
        if page is None and state.status in ENDED:
            return Response(status_code=204)
        if after != LOG_START:
            gateway.metrics.resumes.inc()
        pages = gateway.feeds.follow(feed, after, pixels)
        return EventStream(pages, stack.pop_all(), ping_s=gateway.settings.ping_s)
