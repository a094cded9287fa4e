"""The whole flow in front of any ASGI app, without a change in it."""

from celery import Celery
from fastapi import FastAPI
from starlette.requests import Request
from starlette.routing import Match, Router

from respond_async.async_requests import AsyncRequests
from respond_async.celery_face import load
from respond_async.problems import Problem, answer_problem
from respond_async.raw_request import App, Message, RawRequest, Receive, Send, is_captured
from respond_async.scope import Scope
from respond_async.settings import Settings
from ws_hub import Hub


class Gateway:
    """An ASGI app: captures for another one, serves the results and the hub, passes the rest on.

        gateway = Gateway("shop.main:app", celery="shop.worker:celery")

    Its own paths are the result endpoint's and `/ws`, and what is added to `front`. All else is
    the other app's, lifespan and WebSockets too. There is no router to ask here, so every request
    with the header is captured, one that the app answers 404 as well. The app's middlewares run in
    the replay alone: what must stand on the 202 too (CORS) is a matter for `front`.

    Args:
        app: The app, or where it is ("module:attribute"); the workers replay the same one.
        celery: The Celery application whose workers replay requests, or where it is.
        settings: Default: from the environment.

    Raises:
        ConfigurationError: There is no such app.
        ws_hub.HubConfigurationError: JWT_PUBLIC_KEY is not a key for JWT_ALGORITHM.
    """

    def __init__(
        self, app: App | str, *, celery: Celery | str, settings: Settings | None = None
    ) -> None:
        self._settings = settings or Settings()
        loaded: App = load(app, object) if isinstance(app, str) else app  # type: ignore[assignment]
        self._app = loaded
        #: Serves the gateway's own paths.
        self.front = FastAPI(title="respond-async", openapi_url=None)
        self._requests = AsyncRequests(self.front, celery=celery, settings=self._settings)
        router = getattr(loaded, "router", None)
        self._requests.label_endpoints_of(router if isinstance(router, Router) else None)
        Hub(self._settings).install(self.front)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one connection (ASGI)."""
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
        elif self._is_own(scope):
            await self.front(scope, receive, send)
        elif scope["type"] == "http" and is_captured(scope):
            await self._capture(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _is_own(self, scope: Scope) -> bool:
        return any(route.matches(scope)[0] is not Match.NONE for route in self.front.routes)

    async def _capture(self, scope: Scope, receive: Receive, send: Send) -> None:
        raw = RawRequest(
            scope,
            receive,
            self._settings.max_request_bytes,
            self._settings.request_body_timeout_seconds,
        )
        try:
            response = await self._requests.capture.accept(
                raw, self._requests.patterns.chosen(scope)
            )
        except Problem as problem:
            response = await answer_problem(Request(scope), problem)
        await response(scope, receive, send)

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = answered = False

        async def receiving() -> Message:
            nonlocal asked
            asked = True
            return await receive()

        async def sending(message: Message) -> None:
            nonlocal answered
            answered = True
            await send(message)

        async with self.front.router.lifespan_context(self.front):
            try:
                await self._app(scope, receiving, sending)
            except Exception:
                if answered or asked:
                    raise
            # An app without a lifespan raises, or returns at once.
            if not answered:
                if not asked:
                    await receive()
                await send({"type": "lifespan.startup.complete"})
                await receive()
                await send({"type": "lifespan.shutdown.complete"})
