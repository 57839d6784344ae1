"""A group: the candidates of one request, together, and ranked once all have ended."""

import asyncio

from fastapi import APIRouter, Response

from server.errors import problems
from server.gateway import GatewayDep
from server.groups import candidates
from server.schemas import GroupView

router = APIRouter(prefix="/groups/{group_id}", tags=["groups"])


@router.get("", summary="Several pictures of one request as they stand now", responses=problems(404, 503))
async def group(gateway: GatewayDep, group_id: str, response: Response) -> GroupView:
    """Each candidate is a job of its own, with its events and its result. Once all have ended, the best comes first."""
    response.headers["Cache-Control"] = "no-store"
    return GroupView.of(await candidates(gateway.broker, group_id))


@router.delete("", summary="Cancel all candidates", responses=problems(404, 503))
async def cancel(gateway: GatewayDep, group_id: str) -> GroupView:
    """Idempotent, as for a job: candidates that have ended stay as they are."""
    states = await candidates(gateway.broker, group_id)
    return GroupView.of(await asyncio.gather(*(gateway.broker.cancel(state.job.id) for state in states)))
