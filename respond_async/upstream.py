"""An ASGI app that passes every request on to UPSTREAM_URL: an API in any language.

Behind a `Gateway` it serves the direct requests; in the worker it is the app that is replayed, so
both take the same way. Hop-by-hop headers end here (RFC 9110 7.6.1), and so does X-Async-Request:
the name of an anonymous channel is nobody else's business.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable
from typing import Final

import httpx

from respond_async.hop_by_hop import end_to_end
from respond_async.problems import MEDIA_TYPE, problem_body
from respond_async.raw_request import Message, Receive, Send
from respond_async.scope import ASYNC_HEADER, Scope
from respond_async.settings import Settings

logger = logging.getLogger(__name__)

Headers = list[tuple[bytes, bytes]]

_CONNECT_SECONDS: Final = 10.0
# `Host` is the upstream's own, `Expect` has been answered by our server.
_NOT_SENT: Final = frozenset({b"host", b"expect", ASYNC_HEADER.encode()})
# Our server says its own.
_NOT_GIVEN: Final = frozenset({b"date", b"server"})
_FORWARDED: Final = (b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host")


class Upstream:
    """The ASGI app.

    Args:
        url: `http://host:port` or `https://host`, perhaps with a path that stands before each
            request's own.
        timeout_seconds: How long the upstream may be silent; None: for ever.
    """

    def __init__(self, url: str, timeout_seconds: float | None) -> None:
        self._url = httpx.URL(url.rstrip("/"))
        self._prefix = self._url.raw_path.rstrip(b"/")
        self._timeout = {"connect": _CONNECT_SECONDS, "pool": None}
        self._timeout |= {"read": timeout_seconds, "write": timeout_seconds}
        self._transport: httpx.AsyncHTTPTransport | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one connection (ASGI)."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "websocket":
            # Refused with 403 by the server: WebSockets are not passed on.
            await receive()
            await send({"type": "websocket.close", "code": 1000})
        else:
            await self._until_gone(scope, receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        if self._transport is not None and self._loop is asyncio.get_running_loop():
            await self._transport.aclose()
            self._transport = None
        await send({"type": "lifespan.shutdown.complete"})

    def _pool(self) -> httpx.AsyncHTTPTransport:
        # Connections belong to an event loop.
        loop = asyncio.get_running_loop()
        if self._transport is None or self._loop is not loop:
            limits = httpx.Limits(max_connections=None, max_keepalive_connections=100)
            self._transport = httpx.AsyncHTTPTransport(limits=limits, trust_env=False)
            self._loop = loop
        return self._transport

    async def _until_gone(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes on until the answer has ended or the client has gone."""
        body = _Body(receive)
        passing = asyncio.create_task(self._pass_on(scope, body, send))
        leaving = asyncio.create_task(body.client_left())
        try:
            await asyncio.wait({passing, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
            if not passing.done():
                passing.cancel()
            await asyncio.gather(passing, leaving, return_exceptions=True)
        if not passing.cancelled():
            passing.result()

    async def _pass_on(self, scope: Scope, body: "_Body", send: Send) -> None:
        try:
            response = await self._answered(scope, body)
        except httpx.TimeoutException as error:
            await _refuse(send, scope, 504, "The upstream did not answer in time.", error)
            return
        except (httpx.TransportError, httpx.InvalidURL) as error:
            await _refuse(send, scope, 502, "The upstream does not answer.", error)
            return
        try:
            headers = _without(response.headers.raw, _NOT_GIVEN)
            await send(
                {
                    "type": "http.response.start",
                    "status": response.status_code,
                    "headers": [(name.lower(), value) for name, value in headers],
                }
            )
            assert isinstance(response.stream, httpx.AsyncByteStream)
            # The stream, not the response's content: that would take off a content coding.
            async for part in response.stream:
                await send({"type": "http.response.body", "body": part, "more_body": True})
            await send({"type": "http.response.body"})
        finally:
            await response.aclose()

    async def _answered(self, scope: Scope, body: "_Body") -> httpx.Response:
        first = await body.first()
        headers = self._headers(scope)
        if body.has_any and not any(name == b"content-length" for name, _ in headers):
            headers.append((b"transfer-encoding", b"chunked"))
        query = scope.get("query_string", b"")
        target = self._prefix + (scope.get("raw_path") or b"/") + (b"?" + query if query else b"")
        for last in (False, True):
            request = httpx.Request(
                scope["method"],
                self._url,
                headers=headers,
                stream=_Stream(first, body),
                # As it came in; a URL object would mend it.
                extensions={"target": target, "timeout": self._timeout},
            )
            # httpx writes methods in capitals; they are case-sensitive (RFC 9110 9.1).
            request.method = scope["method"]
            try:
                return await self._pool().handle_async_request(request)
            except httpx.RemoteProtocolError:
                # A connection that was kept may be closed by now.
                if last or body.has_any or scope["method"] not in ("GET", "HEAD"):
                    raise
        raise AssertionError

    def _headers(self, scope: Scope) -> Headers:
        given: Headers = list(scope["headers"])
        headers = [(b"host", self._url.netloc), *_without(given, _NOT_SENT)]
        kept = [(name, value) for name, value in headers if name not in _FORWARDED]
        before = {
            name: b", ".join(value for other, value in headers if other == name)
            for name in _FORWARDED
        }
        client = scope.get("client")
        chain = [before[b"x-forwarded-for"], client[0].encode() if client else b""]
        host = next((value for name, value in given if name.lower() == b"host"), b"")
        forwarded = {
            b"x-forwarded-for": b", ".join(filter(None, chain)),
            b"x-forwarded-proto": before[b"x-forwarded-proto"] or scope["scheme"].encode(),
            b"x-forwarded-host": before[b"x-forwarded-host"] or host,
        }
        return kept + [(name, value) for name, value in forwarded.items() if value]


class _Body:
    """The request's body, read once, and after it the news that the client has gone."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._ended = asyncio.Event()
        self.has_any = False

    async def first(self) -> bytes:
        part = await self._next()
        self.has_any = bool(part) or not self._ended.is_set()
        return part

    async def rest(self) -> AsyncIterator[bytes]:
        while not self._ended.is_set():
            if part := await self._next():
                yield part

    async def client_left(self) -> None:
        await self._ended.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def _next(self) -> bytes:
        message: Message = await self._receive()
        if message["type"] == "http.disconnect":
            raise httpx.ReadError("the client went away")
        if not message.get("more_body", False):
            self._ended.set()
        part: bytes = message.get("body", b"")
        return part


class _Stream(httpx.AsyncByteStream):
    def __init__(self, first: bytes, body: _Body) -> None:
        self._first = first
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._first:
            yield self._first
        async for part in self._body.rest():
            yield part


def _without(headers: Iterable[tuple[bytes, bytes]], left_out: frozenset[bytes]) -> Headers:
    return [(n, value) for n, value in end_to_end(headers) if n.lower() not in left_out]


async def _refuse(send: Send, scope: Scope, status: int, detail: str, error: Exception) -> None:
    # Where it is and why is for the operator alone.
    logger.warning("%s %s: %d: %r", scope["method"], scope["path"], status, error)
    body = problem_body(status, detail, scope["path"])
    headers = [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def upstream(settings: Settings) -> Upstream:
    """The app of UPSTREAM_URL."""
    return Upstream(settings.upstream_url, settings.replay_timeout_seconds or None)


def __getattr__(name: str) -> Upstream:
    # "respond_async.upstream:app", for who names an app by module and attribute.
    if name == "app":
        found = upstream(Settings())
        globals()["app"] = found
        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
