"""The same channels for networks that let no WebSocket pass: server-sent events and long-poll.

Server-sent events: https://html.spec.whatwg.org/multipage/server-sent-events.html. Both speak the
messages of version 2, from the same history.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager
from typing import Any, Final, Protocol

from redis.exceptions import RedisError
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from ws_hub import protocol, protocol2
from ws_hub.admission import Admission, Wanted
from ws_hub.errors import BadChannel, BadMessage, NotAllowed, TooManyConnections
from ws_hub.feeds import Feeds
from ws_hub.settings import HubSettings
from ws_hub.streams import Stream, together
from ws_hub.tokens import Claims

logger = logging.getLogger(__name__)

_LONGEST_WAIT_SECONDS: Final = 60.0
_DEFAULT_WAIT_SECONDS: Final = 30.0
_PREFLIGHT: Final = {
    "Access-Control-Allow-Methods": "GET",
    "Access-Control-Allow-Headers": "Authorization, Last-Event-ID, Cache-Control",
    "Access-Control-Max-Age": "7200",
}


class Place(Protocol):
    """What the hub counts of one client."""

    def fill(self, guest: Stream) -> None:
        """From now on the hub can end it."""


Guests = Callable[[HTTPConnection, Claims | None], AbstractContextManager[Place]]
_Handler = Callable[[Request, Claims | None, list[Wanted]], Awaitable[Response]]


class Events:
    """Answers `GET /events` and `GET /events/poll`.

    Args:
        settings: Limits and intervals.
        admission: Who is let in.
        feeds: Where messages come from.
        guests: Counts who is served.
    """

    def __init__(
        self, settings: HubSettings, admission: Admission, feeds: Feeds, guests: Any
    ) -> None:
        self._settings: Final = settings
        self._admission: Final = admission
        self._feeds: Final = feeds
        self._guests: Final = guests

    async def stream(self, request: Request) -> Response:
        """Server-sent events."""
        return await self._answer(request, self._stream)

    async def poll(self, request: Request) -> Response:
        """What came since, at once or as soon as something does."""
        return await self._answer(request, self._poll)

    async def _answer(self, request: Request, handler: _Handler) -> Response:
        try:
            self._admission.check_origin(request)
        except NotAllowed as refused:
            return _refused(403, refused)
        response = await self._judged(request, handler)
        response.headers["Vary"] = "Origin"
        origin = request.headers.get("origin")
        if origin is not None:
            response.headers["Access-Control-Allow-Origin"] = origin
        return response

    async def _judged(self, request: Request, handler: _Handler) -> Response:  # noqa: PLR0911 - one for each status
        if request.method == "OPTIONS":
            return Response(status_code=204, headers=_PREFLIGHT)
        try:
            token = request.query_params.get("token") or _bearer(request)
            claims = None if token is None else await self._admission.claims(token)
        except NotAllowed as refused:
            return _refused(401, refused, {"WWW-Authenticate": "Bearer"})
        except RedisError:
            return _unavailable()
        try:
            return await handler(request, claims, self._wanted(request, claims))
        except NotAllowed as refused:
            return _refused(403, refused)
        except (BadChannel, BadMessage) as wrong:
            return _refused(400, wrong)
        except TooManyConnections as many:
            return _refused(429, many, {"Retry-After": "5"})

    def _wanted(self, request: Request, claims: Claims | None) -> list[Wanted]:
        since = request.query_params.getlist("since")
        if "last-event-id" in request.headers:
            # It is newer: a browser sends it when it connects again to the URL it was given.
            since = [request.headers["last-event-id"]]
        wanted = self._admission.wanted(request, claims, since)
        if not wanted:
            raise NotAllowed("connect with a token or ?channel=NAME")
        return wanted

    async def _stream(
        self, request: Request, claims: Claims | None, wanted: list[Wanted]
    ) -> Response:
        place = self._guests(request, claims)
        # Entered here, where a refusal still has a status of its own.
        place_of = place.__enter__()
        stream = Stream(claims, self._settings, wanted)
        place_of.fill(stream)

        async def events() -> AsyncIterator[str]:
            follows = self._feeds.follow_all(wanted, stream)
            beat = self._settings.hub_ping_interval_seconds
            welcome = protocol2.welcome(claims.sub if claims else None, beat)
            yield f"event: welcome\ndata: {protocol.encode(welcome)}\n\n"
            try:
                async for part in stream.events(beat):
                    yield part
            finally:
                for follow in follows.values():
                    follow.stop()

        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return _Streaming(
            events(), headers=headers, media_type="text/event-stream",
            done=lambda: place.__exit__(None, None, None),
        )  # fmt: skip

    async def _poll(
        self, request: Request, claims: Claims | None, wanted: list[Wanted]
    ) -> Response:
        seconds = _wait_seconds(request)
        with self._guests(request, claims) as place:
            stream = Stream(claims, self._settings, wanted)
            place.fill(stream)
            follows = self._feeds.follow_all(wanted, stream)
            try:
                # Who has no position yet gets one at once, so that nothing is missed from then on.
                without = any(one.since is None for one in wanted)
                gone = asyncio.create_task(_disconnected(request))
                try:
                    came = await stream.collected(len(wanted), 0 if without else seconds, gone)
                finally:
                    gone.cancel()
            finally:
                for follow in follows.values():
                    follow.stop()
        if came is None:
            return _unavailable()
        answer = {
            "id": str(follows[wanted[0].channel].position) if len(wanted) == 1 else None,
            "ids": {one.name: str(follows[one.channel].position) for one in wanted},
            "recovered": together(came.recovered),
            "messages": came.messages,
        }
        return JSONResponse(answer, headers={"Cache-Control": "no-store"})


class _Streaming(StreamingResponse):
    """Says when it has ended, however it did."""

    def __init__(
        self, content: AsyncIterator[str], *, done: Callable[[], Any], **options: Any
    ) -> None:
        super().__init__(content, **options)
        self._done = done

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            # Not left to the garbage collector: it ends what listens.
            await self.body_iterator.aclose()  # type: ignore[attr-defined]
            self._done()


def _bearer(request: Request) -> str | None:
    scheme, _, token = request.headers.get("authorization", "").strip().partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _wait_seconds(request: Request) -> float:
    text = request.query_params.get("wait")
    try:
        seconds = _DEFAULT_WAIT_SECONDS if text is None else float(text)
    except ValueError:
        raise BadMessage("wait is a number of seconds") from None
    return min(max(seconds, 0.0), _LONGEST_WAIT_SECONDS) if seconds == seconds else 0.0  # noqa: PLR0124 - NaN


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _refused(
    status: int, reason: Exception | str, headers: dict[str, str] | None = None
) -> Response:
    return JSONResponse(
        {"status": status, "detail": str(reason)},
        status_code=status,
        headers={"Cache-Control": "no-store"} | (headers or {}),
        media_type="application/problem+json",
    )


def _unavailable() -> Response:
    return _refused(503, "notifications are not available now", {"Retry-After": "5"})
