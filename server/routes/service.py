"""What operators and clients ask of the service itself: models, probes, figures."""

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST

from server.errors import NotReady, NoWorker, problems
from server.gateway import GatewayDep
from server.schemas import Alive, Limits, ModelsView, ModelView, Ready
from server.uploads import GIVEN_MAX_PIXELS

router = APIRouter(tags=["service"])


@router.get("/models", summary="The models that workers serve", responses=problems(503))
async def models(gateway: GatewayDep) -> ModelsView:
    max_pixels = gateway.settings.max_pixels
    limits = Limits(
        max_pixels=max_pixels,
        max_frames=gateway.settings.max_frames,
        max_candidates=gateway.settings.max_candidates,
        max_image_pixels=min(max_pixels, GIVEN_MAX_PIXELS),
    )
    views = [ModelView(**info.model_dump(), limits=limits) for info in await gateway.models()]
    return ModelsView(models=views, default=gateway.settings.default_model or (views[0].name if views else None))


@router.get("/livez", summary="Whether this process answers")
async def livez() -> Alive:
    return Alive()


@router.get("/readyz", summary="Whether a picture could be made now", responses=problems(503))
async def readyz(gateway: GatewayDep) -> Ready:
    if gateway.feeds.closing:
        raise NotReady("The gateway is shutting down.")
    workers, depth = await gateway.broker.workers(), await gateway.broker.depth()
    if workers == 0:
        raise NoWorker("Redis answers, but no worker is alive.")
    return Ready(workers=workers, queue_depth=depth)


@router.get(
    "/metrics",
    summary="Figures for Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def metrics(gateway: GatewayDep) -> Response:
    return Response(await gateway.metrics.scrape(gateway.broker), media_type=CONTENT_TYPE_LATEST)
