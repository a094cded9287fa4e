"""Running a captured request through the ASGI app, in this process.

`ReplayApp` is the asyncio side; `replay_thread.ReplayThread` gives it to callers without a loop.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

import httpx
from asgi_lifespan import LifespanManager, LifespanNotSupported

from respond_async.answer import Answer
from respond_async.celery_face import load
from respond_async.envelope import CapturedRequest
from respond_async.errors import AppStartError
from respond_async.scope import REPLAY, ReplayInfo, Scope
from respond_async.settings import Settings

logger = logging.getLogger(__name__)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Any, Any, Any], Awaitable[None]]

# How long an endpoint that is cancelled may take to end before it is left alone.
_CANCEL_SECONDS: Final = 1.0
# What uvicorn says of itself.
_ASGI: Final = {"version": "3.0", "spec_version": "2.3"}
_SERVER_ERROR: Final = b"Internal Server Error"


class ReplayApp:
    """One ASGI app with its lifespan, for one event loop.

    Args:
        where: The app, as "module:attribute"; imported by `start`.
        settings: Limits and deadlines.
    """

    def __init__(self, where: str, settings: Settings) -> None:
        self._where = where
        self._settings = settings
        self._app: App | None = None
        self._lifespan: LifespanManager | None = None
        # Endpoints that were cancelled and still run; a task without a reference may vanish.
        self._left: set[asyncio.Task[Answer]] = set()

    async def start(self) -> None:
        """Imports the app and runs the start of its lifespan.

        Raises:
            AppStartError: One of the two failed.
        """
        try:
            app: Any = load(self._where, object)
            lifespan = LifespanManager(
                _served(app),
                startup_timeout=self._settings.replay_startup_timeout_seconds,
                shutdown_timeout=self._settings.replay_startup_timeout_seconds,
            )
            try:
                await lifespan.__aenter__()
            except LifespanNotSupported:
                self._app = app
            else:
                self._app, self._lifespan = lifespan.app, lifespan
        except Exception as error:
            logger.exception("the app %s cannot be started", self._where)
            raise AppStartError(f"the app {self._where} cannot be started") from error

    async def stop(self) -> None:
        """Runs the end of the app's lifespan; what goes wrong there is logged."""
        lifespan, self._lifespan, self._app = self._lifespan, None, None
        if lifespan is not None:
            try:
                await lifespan.__aexit__(None, None, None)
            except Exception:
                logger.exception("the app %s did not shut down cleanly", self._where)

    async def replay(self, request: CapturedRequest, body: bytes) -> Answer:
        """What the app answers; a problem (RFC 9457) where it gives no whole answer.

        Cancelling this cancels the endpoint.

        Args:
            request: The request as it was captured.
            body: Its body.
        """
        task = asyncio.create_task(self._call(request, body))
        self._left.add(task)
        task.add_done_callback(self._left.discard)
        try:
            # Not `asyncio.timeout`: an endpoint in a thread cannot be cancelled, and that would
            # wait for it.
            done, _ = await asyncio.wait(
                {task}, timeout=self._settings.replay_timeout_seconds or None
            )
        except asyncio.CancelledError:
            task.cancel()
            raise
        if done:
            return task.result()
        task.cancel()
        await asyncio.wait({task}, timeout=_CANCEL_SECONDS)
        limit = self._settings.replay_timeout_seconds
        logger.error("%s did not answer within %g s", request, limit)
        return Answer.problem(
            504, f"The endpoint did not answer within {limit:g} s.", request.raw_path
        )

    async def _call(self, request: CapturedRequest, body: bytes) -> Answer:
        assert self._app is not None
        exchange = _Exchange(self._app, request, self._settings.max_response_bytes)
        transport = httpx.ASGITransport(exchange, raise_app_exceptions=False)
        # The address does not matter: the exchange puts the captured scope in its place.
        message = httpx.Request(request.method, "http://replay/", content=body)
        response = await transport.handle_async_request(message)
        if exchange.failure is not None:
            return Answer.problem(500, exchange.failure, request.raw_path)
        headers = tuple(
            (name.decode("latin-1"), value.decode("latin-1"))
            for name, value in response.headers.raw
        )
        assert isinstance(response.stream, httpx.AsyncByteStream)
        # The stream, not the response's content: that would take off a content coding.
        return Answer(
            response.status_code, headers, b"".join([part async for part in response.stream])
        )


class _Exchange:
    """The app as ASGITransport sees it: the captured scope put back, the answer watched.

    ASGITransport fixes the HTTP version and one client address, rebuilds the path from the URL,
    and takes a broken-off answer for a whole one.
    """

    def __init__(self, app: App, request: CapturedRequest, limit_bytes: int) -> None:
        self._app = app
        self._request = request
        self._limit = limit_bytes
        self._size = 0
        self._started = False
        self._complete = False
        #: Why there is no whole answer, for the owner.
        self.failure: str | None = None

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        request = self._request
        captured = {
            "type": "http",
            "asgi": dict(_ASGI),
            "extensions": {},
            **request.scope(),
            REPLAY: ReplayInfo(
                task_id=request.task_id, accepted_at=request.accepted_at, channel=request.channel
            ),
        }

        async def watched(message: Message) -> None:
            self._watch(message)
            await send(message)

        try:
            await self._app(captured, receive, watched)
        except Exception:
            # What a server does: log it, and answer 500 if nothing was answered yet.
            logger.exception("the app failed on %s", request)
        if self.failure is None and self._started and not self._complete:
            self.failure = "The endpoint broke off before the end of its answer."
        if not self._started:
            await send(
                {
                    "type": "http.response.start",
                    "status": 500,
                    "headers": [
                        (b"content-type", b"text/plain; charset=utf-8"),
                        (b"content-length", str(len(_SERVER_ERROR)).encode()),
                    ],
                }
            )
            await send({"type": "http.response.body", "body": _SERVER_ERROR})
        elif not self._complete:
            # ASGITransport insists on an end; `failure` says that it is none.
            await send({"type": "http.response.body"})

    def _watch(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._started = True
        elif message["type"] == "http.response.body":
            self._size += len(message.get("body", b""))
            if self._size > self._limit:
                self.failure = f"The endpoint's answer is larger than {self._limit} bytes."
                raise ResponseTooLargeError(self.failure)
            self._complete = not message.get("more_body", False)


class ResponseTooLargeError(Exception):
    """Ends an endpoint whose answer is larger than MAX_RESPONSE_BYTES."""


def _served(app: App) -> App:
    """The app as a server treats it, in two points where LifespanManager does not."""

    async def served(scope: Scope, receive: Receive, send: Send) -> None:
        async def lifespan_send(message: Message) -> None:
            # LifespanManager waits for its whole timeout after this message.
            if message["type"] == "lifespan.startup.failed":
                raise AppStartError(message.get("message") or "its lifespan failed")
            await send(message)

        if scope["type"] == "lifespan":
            await app(scope, receive, lifespan_send)
            return
        # LifespanManager hands every request the same state; a server gives each its own copy.
        if "state" in scope:
            scope["state"] = scope["state"].copy()
        await app(scope, receive, send)

    return served
