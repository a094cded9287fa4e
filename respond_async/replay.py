"""Running a captured request through the ASGI app, in this process.

`ReplayApp` is the asyncio side; `replay_thread.ReplayThread` gives it to callers without a loop.
"""

import asyncio
import logging
from collections.abc import AsyncIterable, AsyncIterator
from contextvars import Context
from functools import partial
from typing import Any, Final

import httpx
from asgi_lifespan import LifespanManager, LifespanNotSupported

from respond_async.answer import Answer
from respond_async.celery_face import load
from respond_async.claims import Claims
from respond_async.connections import worker_redis
from respond_async.envelope import CapturedRequest
from respond_async.errors import AppStartError
from respond_async.exchange import AnswerBody, Exchange
from respond_async.raw_request import App, Message, Receive, Send
from respond_async.scope import Scope
from respond_async.settings import Settings

logger = logging.getLogger(__name__)

#: A request's body: whole, or piece by piece.
Body = bytes | AsyncIterable[bytes]

# It does not matter: the exchange puts the captured scope in its place. Read once.
_ADDRESS: Final = httpx.URL("http://replay/")
# How long an endpoint that is cancelled may take to end before it is left alone.
_CANCEL_SECONDS: Final = 1.0


class ReplayApp:
    """One ASGI app with its lifespan, for one event loop.

    Args:
        where: The app, as "module:attribute"; imported by `start`.
        settings: Limits and deadlines.
    """

    def __init__(self, where: str, settings: Settings) -> None:
        self._where = where
        self._settings = settings
        self._claims = Claims(settings, "answer", lambda: worker_redis(settings))
        self._app: App | None = None
        self._lifespan: LifespanManager | None = None
        # What the lifespan gave to the requests; None: it knows no such thing.
        self._state: dict[str, Any] | None = None
        # Endpoints that were cancelled and still run; a task without a reference may vanish.
        self._left: set[asyncio.Task[Answer]] = set()
        # Of what the loop calls back: a copy of the task's for each would be kept as long as it waits.
        self._context = Context()

    async def start(self) -> None:
        """Imports the app and runs the start of its lifespan.

        Raises:
            AppStartError: One of the two failed.
        """
        try:
            app: Any = load(self._where, object)
            lifespan = LifespanManager(
                self._lifespan_of(app),
                startup_timeout=self._settings.replay_startup_timeout_seconds,
                shutdown_timeout=self._settings.replay_startup_timeout_seconds,
            )
            try:
                await lifespan.__aenter__()
            except LifespanNotSupported:
                self._state = None
            else:
                self._lifespan = lifespan
            self._app = app
        except Exception as error:
            logger.exception("the app %s cannot be started", self._where)
            raise AppStartError(f"the app {self._where} cannot be started") from error

    async def stop(self) -> None:
        """Runs the end of the app's lifespan; what goes wrong there is logged."""
        lifespan, self._lifespan, self._app = self._lifespan, None, None
        self._claims.close()
        if lifespan is not None:
            try:
                await lifespan.__aexit__(None, None, None)
            except Exception:
                logger.exception("the app %s did not shut down cleanly", self._where)

    async def replay(self, request: CapturedRequest, body: Body) -> Answer:
        """What the app answers; a problem (RFC 9457) where it gives no whole answer.

        Cancelling this cancels the endpoint.

        Args:
            request: The request as it was captured.
            body: Its body, whole or in pieces.

        Raises:
            BodyLostError: A piece of the body is no longer in the claim store.
            EnvelopeError: A piece of it was not sealed by us.
            StoreUnavailableError: The claim store did not give a piece, or take the answer's.
        """
        limit = self._settings.replay_timeout_seconds
        if request.plan is not None and request.plan.timeout_seconds is not None:
            limit = request.plan.timeout_seconds
        loop = asyncio.get_running_loop()
        task = loop.create_task(self._call(request, body))
        self._left.add(task)
        # Not `asyncio.timeout`: an endpoint in a thread cannot be cancelled, and that would wait
        # for it. Nor `asyncio.wait`, which costs three times as much.
        over: asyncio.Future[None] = loop.create_future()
        task.add_done_callback(partial(self._ended, over), context=self._context)
        timer = loop.call_later(limit, _set, over, context=self._context) if limit else None
        try:
            await over
        except asyncio.CancelledError:
            task.cancel()
            raise
        finally:
            if timer is not None:
                timer.cancel()
        if task.done():
            return task.result()
        task.cancel()
        await asyncio.wait({task}, timeout=_CANCEL_SECONDS)
        logger.error("%s did not answer within %g s", request, limit)
        return Answer.problem(
            504, f"The endpoint did not answer within {limit:g} s.", request.raw_path
        )

    def _lifespan_of(self, app: App) -> App:
        """The app for its lifespan alone: requests go to it as they are, without what is around it here."""

        async def lifespan(scope: Scope, receive: Receive, send: Send) -> None:
            async def lifespan_send(message: Message) -> None:
                # LifespanManager waits for its whole timeout after this message.
                if message["type"] == "lifespan.startup.failed":
                    raise AppStartError(message.get("message") or "its lifespan failed")
                await send(message)

            self._state = scope.get("state")
            await app(scope, receive, lifespan_send)

        return lifespan

    def _ended(self, over: asyncio.Future[None], task: asyncio.Task[Answer]) -> None:
        self._left.discard(task)
        _set(over)

    async def _call(self, request: CapturedRequest, body: Body) -> Answer:
        assert self._app is not None
        answer = AnswerBody(request, self._settings, self._claims)
        try:
            exchange = Exchange(self._app, request, answer, self._state)
            transport = httpx.ASGITransport(exchange, raise_app_exceptions=False)
            message = httpx.Request(request.method, _ADDRESS, stream=_Parts(body))
            response = await transport.handle_async_request(message)
            exchange.raise_lost()
            if answer.failure is not None:
                await answer.abandon()
                failed = Answer.problem(500, answer.failure, request.raw_path)
                failed.raised = exchange.raised
                return failed
            headers = tuple(
                (name.decode("latin-1"), value.decode("latin-1"))
                for name, value in response.headers.raw
            )
            whole, claim = await answer.finish()
        except BaseException:
            await asyncio.shield(answer.abandon())
            raise
        given = Answer(response.status_code, headers, whole, claim)
        given.raised = exchange.raised
        return given


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class _Parts(httpx.AsyncByteStream):
    __slots__ = ("_body",)

    def __init__(self, body: Body) -> None:
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if not isinstance(self._body, bytes):
            async for piece in self._body:
                yield piece
        elif self._body:
            yield self._body
