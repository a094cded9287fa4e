"""The hub: lets clients in and joins them to Redis."""

import asyncio
import contextlib
import logging
import math
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final, Protocol

from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisClusterException, RedisError
from starlette.applications import Starlette
from starlette.requests import HTTPConnection
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from ws_hub import protocol, protocol2
from ws_hub.admission import Admission
from ws_hub.cancelling import cancel_all
from ws_hub.counts import COUNTS
from ws_hub.errors import BadChannel, BadMessage, NotAllowed, TokenRejected, TooManyConnections
from ws_hub.events import Events
from ws_hub.feeds import Feeds
from ws_hub.limits import Connections
from ws_hub.published import Published
from ws_hub.redaction import redact_server_logs
from ws_hub.revoked import Revocations
from ws_hub.servers import connect_async
from ws_hub.sessions import Session
from ws_hub.sessions2 import Session2
from ws_hub.settings import HubSettings
from ws_hub.sockets import Ending, Socket
from ws_hub.stopping import on_exit_signal
from ws_hub.tokens import Claims

logger = logging.getLogger(__name__)

# How long a close frame may take on its way to a client that does not read.
_CLOSE_TIMEOUT_SECONDS: Final = 10.0
_STOP_TIMEOUT_SECONDS: Final = 5.0
_READY_TIMEOUT_SECONDS: Final = 2.0


class Guest(Protocol):
    """A client while it is served."""

    claims: Claims | None

    def end(self, code: int | None, reason: str = "") -> None:
        """Ends it; the first reason counts."""

    def restart(self, seconds: int) -> None:
        """Ends it because the hub stops; clients should come back spread over `seconds`."""


class Hub:
    """Serves WebSockets at `/ws`, server-sent events at `/events`, long-polls at `/events/poll`.

    Nothing connects to Redis before the first client, so a process that imports the app without
    serving it, such as a worker, has no connection of the hub's.

    Args:
        settings: Default: read from the environment.

    Raises:
        HubConfigurationError: JWT_PUBLIC_KEY is not a key for JWT_ALGORITHM.
    """

    def __init__(self, settings: HubSettings | None = None) -> None:
        self._settings = settings or HubSettings()
        self._feeds = Feeds(self._settings, control=self)
        self._revocations = Revocations(self._feeds.commands)
        self._admission = Admission(self._settings, self._revocations)
        self._connections = Connections(self._settings)
        self._events = Events(self._settings, self._admission, self._feeds, self.guest)
        self._guests: set[Guest] = set()
        # The servers' tasks that run `endpoint`: they end once their close frame is out.
        self._endpoints: set[asyncio.Task[Any]] = set()
        self._judging: set[asyncio.Task[None]] = set()
        self._stopping = False

    def install(self, app: Starlette, path: str = "/ws", events_path: str = "/events") -> None:
        """Adds the routes to a Starlette or FastAPI app, and the hub's end to the app's shutdown.

        The app's own lifespan stays as it is. uvicorn's log lines show no token from now on.
        """
        methods = ["GET", "OPTIONS"]
        app.router.routes += [
            WebSocketRoute(path, self.endpoint, name="ws_hub"),
            Route(events_path, self._events.stream, methods=methods, include_in_schema=False),
            Route(
                f"{events_path}/poll", self._events.poll, methods=methods, include_in_schema=False
            ),
        ]
        inner = app.router.lifespan_context

        @contextlib.asynccontextmanager
        async def lifespan(scoped: Any) -> AsyncIterator[Any]:
            async with inner(scoped) as state:
                try:
                    with on_exit_signal(self.drain):
                        yield state
                finally:
                    await self.stop()

        app.router.lifespan_context = lifespan
        redact_server_logs()

    async def endpoint(self, websocket: WebSocket) -> None:
        """One client, from handshake to close; for a `WebSocketRoute`."""
        # Accepted first, refused after: a browser's script sees neither status nor reason of a
        # handshake that failed, but does see a close code.
        offered = websocket.scope.get("subprotocols") or []
        asked = protocol2.SUBPROTOCOL in offered
        await websocket.accept(protocol2.SUBPROTOCOL if asked else None)
        numbered = asked or websocket.query_params.get("protocol") == "2"
        task = asyncio.current_task()
        assert task is not None
        self._endpoints.add(task)
        try:
            await _close(websocket, await self._ending_of(websocket, offered, numbered=numbered))
        finally:
            self._endpoints.discard(task)

    async def ready(self) -> None:
        """Returns if Redis answers.

        Raises:
            redis.RedisError: It does not, within 2 s.
        """
        try:
            async with connect_async(
                self._settings.redis_url,
                socket_connect_timeout=_READY_TIMEOUT_SECONDS,
                socket_timeout=_READY_TIMEOUT_SECONDS,
                retry=Retry(NoBackoff(), 0),
            ) as client:
                await client.ping()
        except RedisClusterException as error:
            raise RedisConnectionError(str(error)) from error

    def drain(self) -> None:
        """Asks every client to go and to come back spread over some seconds; takes no more."""
        self._stopping = True
        rate = self._settings.hub_reconnects_per_second
        seconds = max(1, math.ceil(len(self._guests) / rate))
        for guest in tuple(self._guests):
            guest.restart(seconds)

    async def stop(self) -> None:
        """Closes every socket with 1012 and the connections to Redis; within 5 s or so."""
        try:
            self.drain()
            if self._endpoints:
                await asyncio.wait(self._endpoints, timeout=_STOP_TIMEOUT_SECONDS)
            await cancel_all(self._judging)
            await self._feeds.close()
        finally:
            self._stopping = False

    @contextlib.contextmanager
    def guest(self, connection: HTTPConnection, claims: Claims | None) -> Iterator["_Place"]:
        """A place for one client.

        Raises:
            TooManyConnections: Its address or user has as many as may be.
        """
        address = connection.client.host if connection.client else ""
        self._connections.come_from(address)
        place = _Place(self._guests)
        try:
            if claims is not None:
                self._connections.come(claims.sub)
                place.claims = claims
            self._feeds.subscriber.start()
            with COUNTS.connection():
                yield place
        finally:
            self._connections.leave_from(address)
            guest = place.guest
            if guest is not None:
                self._guests.discard(guest)
                # It may have logged in after it came.
                place.claims = guest.claims or place.claims
            if place.claims is not None:
                self._connections.leave(place.claims.sub)

    def deliver(self, published: Published) -> None:
        """Hears that a token was revoked."""
        user, jti = published.field("user"), published.field("jti")
        self._judge(
            [
                guest
                for guest in self._guests
                if guest.claims is not None
                and (guest.claims.sub == user or (jti and guest.claims.raw.get("jti") == jti))
            ]
        )

    def resubscribed(self) -> None:
        """Hears that revocations may have been missed."""
        self._judge([guest for guest in self._guests if guest.claims is not None])

    def _judge(self, guests: list[Guest]) -> None:
        for guest in guests:
            task = asyncio.create_task(self._judge_one(guest))
            self._judging.add(task)
            task.add_done_callback(self._judging.discard)

    async def _judge_one(self, guest: Guest) -> None:
        assert guest.claims is not None
        try:
            await self._revocations.check(
                guest.claims, self._settings.hub_subscribe_timeout_seconds
            )
        except RedisError:
            # Redis goes again: asked again when it is back.
            return
        except TokenRejected as rejected:
            guest.end(protocol.CLOSE_NOT_ALLOWED, rejected.reason)

    async def _ending_of(
        self, websocket: WebSocket, offered: list[str], *, numbered: bool
    ) -> Ending:
        try:
            return await self._serve(websocket, offered, numbered=numbered)
        except (NotAllowed, BadChannel, BadMessage) as refused:
            return Ending(protocol.CLOSE_NOT_ALLOWED, str(refused))
        except TooManyConnections as many:
            return Ending(protocol.CLOSE_TRY_AGAIN_LATER, str(many))
        except RedisError:
            return Ending(protocol.CLOSE_TRY_AGAIN_LATER, "notifications are not available now")
        except Exception:
            logger.exception("a session failed")
            return Ending(protocol.CLOSE_INTERNAL_ERROR, "internal error")

    async def _serve(self, websocket: WebSocket, offered: list[str], *, numbered: bool) -> Ending:
        self._admission.check_origin(websocket)
        query = websocket.query_params
        token = query.get("token")
        if not numbered:
            self._admission.check_legacy(websocket)
        elif token is None:
            bearers = [one for one in offered if one.startswith(protocol2.BEARER_PREFIX)]
            token = bearers[0].removeprefix(protocol2.BEARER_PREFIX) if bearers else None
        claims = None if token is None else await self._admission.claims(token)
        wanted = self._admission.wanted(
            websocket, claims, query.getlist("since") if numbered else []
        )
        if self._stopping:
            return Ending(protocol.CLOSE_RESTART, "the server restarts")
        with self.guest(websocket, claims) as place:
            session: Socket
            if numbered:
                session = Session2(
                    websocket, claims, wanted, self._settings,
                    admission=self._admission, feeds=self._feeds, connections=self._connections,
                )  # fmt: skip
            else:
                session = Session(
                    websocket, claims, wanted[-1].channel, self._settings, self._feeds.subscriber
                )
            place.fill(session)
            # Judged; 2 KB that nobody asks for while the socket is open.
            websocket.scope["headers"].clear()
            return await session.run()


class _Place:
    """What is counted of one client."""

    __slots__ = ("_guests", "claims", "guest")

    def __init__(self, guests: set[Guest]) -> None:
        self._guests: Final = guests
        self.guest: Guest | None = None
        self.claims: Claims | None = None

    def fill(self, guest: Guest) -> None:
        """From now on the hub can end it."""
        self.guest = guest
        self._guests.add(guest)


async def _close(websocket: WebSocket, ending: Ending) -> None:
    if ending.code is None:
        return
    # Whoever is gone by now, or does not read, need not hear it; returning drops the socket.
    with contextlib.suppress(Exception):
        async with asyncio.timeout(_CLOSE_TIMEOUT_SECONDS):
            await websocket.close(ending.code, protocol.close_reason(ending.reason))
