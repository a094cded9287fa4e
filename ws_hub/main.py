"""The hub as a process of its own: `uvicorn ws_hub.main:app`."""

import contextlib
import logging
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from ws_hub.exposition import Exposition
from ws_hub.hub import Hub
from ws_hub.metrics import hub_metrics
from ws_hub.readiness import Readiness
from ws_hub.settings import HubSettings


def create_app(settings: HubSettings | None = None) -> Starlette:
    """The hub at `/ws`, with `/livez` (the process answers), `/readyz` (so does Redis), `/metrics`.

    Args:
        settings: Default: read from the environment.
    """
    settings = settings or HubSettings()
    hub = Hub(settings)
    readiness = Readiness({"redis": hub.ready})

    async def livez(_: Request) -> JSONResponse:
        return JSONResponse({"status": "ok"})

    async def readyz(_: Request) -> JSONResponse:
        report = await readiness.report()
        content = {"status": report.status, "checks": report.checks}
        return JSONResponse(content, report.http_status, {"Cache-Control": "no-store"})

    app = _HubApp(routes=[Route("/livez", livez), Route("/readyz", readyz)])
    app.hub = hub
    hub.install(app)
    if settings.metrics_on:
        _show_metrics(app, settings)
    return app


def _show_metrics(app: Starlette, settings: HubSettings) -> None:
    exposition = Exposition(settings)
    exposition.read_with(hub_metrics())
    if (route := exposition.route()) is not None:
        app.router.routes.append(route)
    inner = app.router.lifespan_context

    @contextlib.asynccontextmanager
    async def lifespan(scoped: Starlette) -> AsyncIterator[object]:
        async with inner(scoped) as state:
            exposition.start()
            try:
                yield state
            finally:
                exposition.stop()

    app.router.lifespan_context = lifespan  # type: ignore[assignment]


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
