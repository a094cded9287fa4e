"""The hub as a process of its own: `uvicorn ws_hub.main:app`."""

import logging

from redis.exceptions import RedisError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from ws_hub.hub import Hub
from ws_hub.settings import HubSettings


def create_app(settings: HubSettings | None = None) -> Starlette:
    """The hub at `/ws`, with `/livez` (the process answers) and `/readyz` (so does Redis).

    Args:
        settings: Default: read from the environment.
    """
    hub = Hub(settings)

    async def livez(_: Request) -> JSONResponse:
        return JSONResponse({"status": "ok"})

    async def readyz(_: Request) -> JSONResponse:
        try:
            await hub.ready()
        except RedisError:
            return JSONResponse({"status": "Redis does not answer"}, status_code=503)
        return JSONResponse({"status": "ok"})

    app = _HubApp(routes=[Route("/livez", livez), Route("/readyz", readyz)])
    app.hub = hub
    hub.install(app)
    return app


class _HubApp(Starlette):
    """Sockets skip Starlette's middlewares and router, whose frames cost each 3 KB while it is open."""

    hub: Hub

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket" and scope["path"] == "/ws":
            await self.hub.endpoint(WebSocket(scope, receive, send))
        else:
            await super().__call__(scope, receive, send)


_settings = HubSettings()
logging.basicConfig(
    level=_settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
)
app = create_app(_settings)
