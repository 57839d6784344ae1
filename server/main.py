"""The gateway as a process: uvicorn, and an end that viewers barely notice."""

import asyncio
import logging
import socket

import uvicorn

from jobs.broker.connect import open_broker
from jobs.settings import BrokerSettings, GatewaySettings
from jobs.store import FolderStore
from server.app import create_app
from server.feeds import Feeds

SHUTDOWN_S = 5  # for answers in hand; event streams end at once


class GatewayServer(uvicorn.Server):
    """Ends event streams when asked to stop: uvicorn waits for open answers, and a stream would keep it waiting."""

    def __init__(self, config: uvicorn.Config, feeds: Feeds) -> None:
        super().__init__(config)
        self._feeds = feeds

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._feeds.close()
        await super().shutdown(sockets)


def run(settings: GatewaySettings, broker_settings: BrokerSettings) -> None:
    """Serve until SIGINT or SIGTERM. Raises ValueError when no Redis is named; exits with 1 when the port is taken."""
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    asyncio.run(_serve(settings, broker_settings))


async def _serve(settings: GatewaySettings, broker_settings: BrokerSettings) -> None:
    broker = open_broker(broker_settings)
    try:
        app = create_app(settings, broker, FolderStore(settings.results_folder))
        config = uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            log_config=None,
            access_log=False,  # /metrics counts; addresses and paths of callers are nobody's business
            server_header=False,
            timeout_graceful_shutdown=SHUTDOWN_S,
        )
        await GatewayServer(config, app.state.gateway.feeds).serve()
    finally:
        await broker.close()
