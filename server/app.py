"""The gateway as an ASGI application: settings, a broker and a store in, routes out."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles

from jobs.broker.base import Broker
from jobs.settings import GatewaySettings
from jobs.store import ResultStore
from server.errors import Problem, add_error_handlers
from server.feeds import Feeds
from server.gateway import Gateway
from server.metrics import Metrics
from server.middleware import Gate
from server.routes import events, films, generate, groups, jobs, plan, service

_STATIC = Path(__file__).parent / "static"
_DESCRIPTION = """Draws pictures of any size from a prompt, patch by patch, and streams each patch as soon as it exists.

Errors are `application/problem+json` (RFC 9457), always of the same shape; every answer has an `X-Request-Id`."""


def create_app(settings: GatewaySettings, broker: Broker, store: ResultStore) -> FastAPI:
    """The gateway. Broker and store belong to the caller, who closes them after the app has stopped."""
    metrics = Metrics()
    feeds = Feeds(broker, metrics.seen)
    metrics.count_viewers(lambda: feeds.viewers)

    app = _Api(
        title="nuwa",
        version=_version(),
        description=_DESCRIPTION,
        license_info={"name": "Apache-2.0"},
        lifespan=_lifespan,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.gateway = Gateway(settings, broker, store, feeds, metrics)
    for module in (generate, plan, jobs, films, groups, events, service):
        app.include_router(module.router)
    app.add_api_route("/", _page, include_in_schema=False)
    app.mount("/static", StaticFiles(directory=_STATIC), name="static")
    add_error_handlers(app)
    app.add_middleware(Gate, metrics=metrics)
    return app


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    """The reader of event logs runs as long as the app does."""
    feeds: Feeds = app.state.gateway.feeds
    reader = asyncio.create_task(feeds.run())
    try:
        yield
    finally:
        feeds.close()
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)


async def _page() -> FileResponse:
    return FileResponse(_STATIC / "index.html", headers={"Cache-Control": "no-cache"})


def _version() -> str:
    try:
        return version("nuwa")
    except PackageNotFoundError:  # run from a source tree that was not installed
        return "0"


class _Api(FastAPI):
    """FastAPI whose document knows our errors instead of FastAPI's own."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            document = super().openapi()
            schemas = document["components"]["schemas"]
            own = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas |= own.pop("$defs") | {"Problem": own}
            for name in ("HTTPValidationError", "ValidationError"):
                schemas.pop(name, None)
            for operations in document["paths"].values():
                for operation in operations.values():
                    if "HTTPValidationError" in str(operation["responses"].get("422")):
                        del operation["responses"]["422"]
        return super().openapi()
