"""The hub: lets clients in and joins their sockets to Redis."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from ws_hub import protocol
from ws_hub.errors import BadChannel, TokenRejected
from ws_hub.origins import origin_allowed
from ws_hub.redaction import redact_server_logs
from ws_hub.sessions import Ending, Session
from ws_hub.settings import HubSettings
from ws_hub.subscriber import Subscriber
from ws_hub.tokens import TokenVerifier

logger = logging.getLogger(__name__)

# How long a close frame may take on its way to a client that does not read.
_CLOSE_TIMEOUT_SECONDS: Final = 10.0
_STOP_TIMEOUT_SECONDS: Final = 5.0
_READY_TIMEOUT_SECONDS: Final = 2.0


class _NotAllowed(Exception):
    pass


@dataclass(frozen=True, slots=True)
class _Admission:
    channel: str
    expires_at: datetime | None = None


class Hub:
    """Serves `/ws?token=JWT` (the user's channel) and `/ws?channel=NAME` (an anonymous one).

    Nothing connects to Redis before the first socket, so a process that imports the app without
    serving it, such as a worker, has no connection of the hub's.

    Args:
        settings: Default: read from the environment.

    Raises:
        HubConfigurationError: JWT_PUBLIC_KEY is not a key for JWT_ALGORITHM.
    """

    def __init__(self, settings: HubSettings | None = None) -> None:
        self._settings = settings or HubSettings()
        self._tokens = TokenVerifier(self._settings)
        self._subscriber = Subscriber(self._settings.redis_url)
        self._sessions: set[Session] = set()
        # The servers' tasks that run `endpoint`: they end once their close frame is out.
        self._endpoints: set[asyncio.Task[Any]] = set()
        self._stopping = False

    def install(self, app: Starlette, path: str = "/ws") -> None:
        """Adds the route to a Starlette or FastAPI app, and its end to the app's shutdown.

        The app's own lifespan stays as it is. uvicorn's log lines show no token from now on.
        """
        app.router.routes.append(WebSocketRoute(path, self.endpoint, name="ws_hub"))
        inner = app.router.lifespan_context

        @contextlib.asynccontextmanager
        async def lifespan(scoped: Any) -> AsyncIterator[Any]:
            async with inner(scoped) as state:
                try:
                    yield state
                finally:
                    await self.stop()

        app.router.lifespan_context = lifespan
        redact_server_logs()

    async def endpoint(self, websocket: WebSocket) -> None:
        """One client, from handshake to close; for a `WebSocketRoute`."""
        # Accepted first, refused after: a browser's script sees neither status nor reason of a
        # handshake that failed, but does see a close code.
        await websocket.accept()
        task = asyncio.current_task()
        assert task is not None
        self._endpoints.add(task)
        try:
            await _close(websocket, await self._ending_of(websocket))
        finally:
            self._endpoints.discard(task)

    async def ready(self) -> None:
        """Returns if Redis answers.

        Raises:
            redis.RedisError: It does not, within 2 s.
        """
        async with redis.asyncio.from_url(
            self._settings.redis_url,
            socket_connect_timeout=_READY_TIMEOUT_SECONDS,
            socket_timeout=_READY_TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), 0),
        ) as client:
            await client.ping()

    async def stop(self) -> None:
        """Closes every socket with 1012 and the connection to Redis; within 5 s or so."""
        self._stopping = True
        try:
            for session in self._sessions:
                session.end(protocol.CLOSE_RESTART, "the server restarts")
            if self._endpoints:
                await asyncio.wait(self._endpoints, timeout=_STOP_TIMEOUT_SECONDS)
            await self._subscriber.stop()
        finally:
            self._stopping = False

    async def _ending_of(self, websocket: WebSocket) -> Ending:
        try:
            return await self._serve(websocket)
        except _NotAllowed as refused:
            return Ending(protocol.CLOSE_NOT_ALLOWED, str(refused))
        except Exception:
            logger.exception("a session failed")
            return Ending(protocol.CLOSE_INTERNAL_ERROR, "internal error")

    async def _serve(self, websocket: WebSocket) -> Ending:
        token = websocket.query_params.get("token")
        if token is not None:
            await self._tokens.prepare(token)
        admission = self._admit(websocket)
        if self._stopping:
            return Ending(protocol.CLOSE_RESTART, "the server restarts")
        self._subscriber.start()
        session = Session(websocket, admission.channel, self._settings, admission.expires_at)
        self._sessions.add(session)
        try:
            return await session.run(self._subscriber)
        finally:
            self._sessions.discard(session)

    def _admit(self, websocket: WebSocket) -> _Admission:
        headers = websocket.headers
        allowed = self._settings.hub_allowed_origins
        if not origin_allowed(headers.get("origin"), headers.get("host"), allowed):
            raise _NotAllowed("this page's origin is not in HUB_ALLOWED_ORIGINS")
        token = websocket.query_params.get("token")
        name = websocket.query_params.get("channel")
        if (token is None) == (name is None):
            raise _NotAllowed("connect with either ?token=JWT or ?channel=NAME")
        try:
            if token is not None:
                claims = self._tokens.verify(token)
                channel = protocol.user_channel(claims.sub)
                return _Admission(channel, claims.expires_at)
            if not self._settings.allow_anonymous:
                raise _NotAllowed("anonymous channels are switched off: connect with ?token=JWT")
            return _Admission(protocol.anonymous_channel(name or ""))
        except TokenRejected as rejected:
            raise _NotAllowed(rejected.reason) from None
        except BadChannel as bad:
            raise _NotAllowed(str(bad)) from None


async def _close(websocket: WebSocket, ending: Ending) -> None:
    if ending.code is None:
        return
    # Whoever is gone by now, or does not read, need not hear it; returning drops the socket.
    with contextlib.suppress(Exception):
        async with asyncio.timeout(_CLOSE_TIMEOUT_SECONDS):
            await websocket.close(ending.code, protocol.close_reason(ending.reason))
