"""The raw bytes of a request, kept as long as it may be captured.

`RawRequestMiddleware` is the outermost one: no other middleware has changed scope or body yet, and
in the replay all of them do their work again. What they read of the body is kept; what they leave
is read by the capture, piece by piece.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from respond_async.identity import Identities
from respond_async.prefer import wants_async
from respond_async.problems import Problem
from respond_async.raw_answer import Verbatim
from respond_async.scope import (
    IDENTITIES,
    RAW_REQUEST,
    VERBATIM,
    Scope,
    replay_info,
)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Any, Any, Any], Awaitable[None]]


class RawRequest:
    """One request's scope as the server gave it, and its body as far as it was read.

    Args:
        scope: The server's.
        receive: The server's.
        limit_bytes: The largest body that `stream` gives.
        timeout_seconds: How long `stream` may take until the body's end.
    """

    def __init__(
        self, scope: Scope, receive: Receive, limit_bytes: int, timeout_seconds: float
    ) -> None:
        self.scope = dict(scope)
        self._receive = receive
        self._limit = limit_bytes
        self._timeout = timeout_seconds
        self._parts: list[bytes] = []
        self._size = 0
        self._complete = False
        self._keeps = True

    async def receive(self) -> Message:
        """The next message for the app; a copy of its bytes is kept up to the limit."""
        message = await self._receive()
        if message["type"] == "http.request":
            self._complete = not message.get("more_body", False)
            part = message.get("body", b"")
            self._size += len(part)
            if self._size > self._limit:
                self._parts.clear()
            elif self._keeps:
                self._parts.append(part)
        return message

    def release(self) -> None:
        """Keeps nothing any more: the request is not captured."""
        self._keeps = False
        self._parts.clear()

    async def stream(self) -> AsyncIterator[bytes]:
        """The whole body in parts, once: first what the app has read, then what is left.

        Raises:
            Problem: 413, the body is larger than MAX_REQUEST_BYTES, said before it is read where
                Content-Length tells; 400, the client went away before its end; 408, it is too
                slow.
        """
        if self._announced() > self._limit or self._size > self._limit:
            raise self._too_large()
        self._keeps = False
        parts, self._parts = self._parts, []
        while parts:
            yield parts.pop(0)
        clock = asyncio.get_running_loop().time
        end = clock() + self._timeout
        while not self._complete:
            try:
                async with asyncio.timeout_at(end):
                    message = await self.receive()
            except TimeoutError:
                raise Problem(
                    408,
                    f"The request's body did not arrive within {self._timeout:g} s.",
                    {"Connection": "close"},
                ) from None
            if message["type"] == "http.disconnect":
                raise Problem(400, "The request ended before its body did.")
            if self._size > self._limit:
                raise self._too_large()
            if part := message.get("body", b""):
                yield part

    def _announced(self) -> int:
        for name, value in self.scope["headers"]:
            if name == b"content-length" and value.isdigit():
                # Python refuses to parse numbers of thousands of digits.
                return int(value) if len(value) < 20 else self._limit + 1  # noqa: PLR2004
        return 0

    def _too_large(self) -> Problem:
        # The rest of the body is not read: the connection cannot carry another request.
        return Problem(
            413, f"The request's body is larger than {self._limit} bytes.", {"Connection": "close"}
        )


class RawRequestMiddleware:
    """Keeps the raw request of those that carry `X-Async-Request`; lets all others pass.

    Args:
        app: The next one.
        identities: Tells callers.
        limit_bytes: The largest body of a captured request.
        timeout_seconds: How long the next part of it may take.
        shared: What every scope is given on top.
    """

    def __init__(
        self,
        app: App,
        identities: Identities,
        limit_bytes: int,
        timeout_seconds: float,
        *,
        shared: Mapping[str, Any],
    ) -> None:
        self._app = app
        self._shared = {IDENTITIES: identities, **shared}
        self._limit = limit_bytes
        self._timeout = timeout_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one connection (ASGI)."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        scope.update(self._shared)
        http = scope["type"] == "http"
        captured = http and is_captured(scope)
        if captured or (http and scope["path"].rstrip("/").endswith("/raw")):
            through = scope[VERBATIM] = Verbatim(scope, receive, send)
            send = through.send
        if captured:
            raw = RawRequest(scope, receive, self._limit, self._timeout)
            scope[RAW_REQUEST] = raw
            receive = raw.receive
        await self._app(scope, receive, send)


def is_captured(scope: Scope) -> bool:
    """Whether an HTTP request asks to be captured; a replay carries the header too."""
    return replay_info(scope) is None and wants_async(scope["headers"])
