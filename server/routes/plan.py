"""POST /plan: what a request would do and cost, without doing it."""

from typing import Annotated

from fastapi import APIRouter, Body, Request

from canvas.grid import Extent
from canvas.plan import Phase
from jobs.job import ModelInfo
from jobs.request import GenerateRequest
from server.errors import problems
from server.forms import FormRoute
from server.gateway import GatewayDep
from server.limits import pages_of
from server.prepare import Prepared, prepare
from server.routes.generate import EXAMPLES, FORM_BODY
from server.schemas import GridView, PhaseView, PlanView

router = APIRouter(tags=["jobs"], route_class=FormRoute)


@router.post(
    "/plan",
    summary="What a request would do and cost",
    responses=problems(400, 404, 409, 413, 415, 422, 503),
    openapi_extra=FORM_BODY,
)
async def plan(
    gateway: GatewayDep,
    request: Request,
    wanted: Annotated[GenerateRequest, Body(openapi_examples=EXAMPLES)],
) -> PlanView:
    """Takes what POST /generate takes, refuses what it refuses, and starts nothing."""
    return _view(await prepare(gateway, wanted, request.state.files))


def _view(prepared: Prepared) -> PlanView:
    job, model = prepared.job, prepared.model
    layout = job.layout
    whole = job.plan(Extent(*model.extent))
    draws = whole.draws()
    pages = pages_of(job, model)
    return PlanView(
        task=job.request.resolved_task,
        model=model.name,
        n=len(prepared.jobs),
        width=job.request.width,
        height=job.request.height,
        frames=job.layout.grid.frames,
        fps=job.request.fps,
        given=job.given,
        order=job.order,
        grid=GridView(
            frames=layout.grid.frames,
            rows=layout.grid.rows,
            columns=layout.grid.columns,
            patch_px=layout.grid.patch_px,
            origin=layout.origin,
        ),
        phases=[_phase(phase, drawn) for phase, drawn in zip(whole.phases, draws, strict=True)],
        patches_total=job.total,
        patches_to_draw=sum(draws),
        patches_known=len(whole.given),
        rounds=whole.rounds,
        pool_pages=pages,
        pool_bytes=None if pages is None or model.page_bytes is None else pages * model.page_bytes,
        expected_seconds=_seconds(model, sum(draws), len(prepared.jobs)),
    )


def _phase(phase: Phase, drawn: int) -> PhaseView:
    region = phase.region
    return PhaseView(
        order=phase.order.name,
        frames=(region.frames.start, region.frames.stop),
        rows=(region.rows.start, region.rows.stop),
        columns=(region.columns.start, region.columns.stop),
        draws=drawn,
        replays=len(region) - drawn,
    )


def _seconds(model: ModelInfo, patches: int, pictures: int) -> float | None:
    if model.patch_seconds is None:
        return None
    return round(((model.start_seconds or 0.0) + model.patch_seconds * patches) * pictures, 1)
