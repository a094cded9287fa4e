"""The raw bytes of a request, kept as the app reads them.

FastAPI parses a form before any dependency runs, and then its bytes are gone; so a middleware
keeps what passes. It is the outermost one: no other middleware has changed scope or body yet, and
in the replay all of them do their work again.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from respond_async.identity import Identities
from respond_async.problems import Problem
from respond_async.scope import (
    ASYNC_HEADER,
    IDENTITIES,
    RAW_REQUEST,
    Scope,
    asks_for_async,
    replay_info,
)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Any, Any, Any], Awaitable[None]]

_HEADER: Final = ASYNC_HEADER.encode()


class RawRequest:
    """One request's scope as the server gave it, and its body as far as it was read."""

    def __init__(self, scope: Scope, receive: Receive, limit_bytes: int) -> None:
        self.scope = dict(scope)
        self._receive = receive
        self._limit = limit_bytes
        self._parts: list[bytes] = []
        self._size = 0
        self._complete = False

    async def receive(self) -> Message:
        """The next message for the app; a copy of its bytes is kept.

        Raises:
            Problem: 413, the body is larger than MAX_REQUEST_BYTES; said before it is read where
                Content-Length tells.
        """
        if not self._complete and self._announced() > self._limit:
            raise self._too_large()
        message = await self._receive()
        if message["type"] == "http.request":
            part = message.get("body", b"")
            self._size += len(part)
            if self._size > self._limit:
                self._parts.clear()
                raise self._too_large()
            self._parts.append(part)
            self._complete = not message.get("more_body", False)
        return message

    async def body(self) -> bytes:
        """The whole body; what the app has not read is read now.

        Raises:
            Problem: 413, it is too large; 400, the client went away before its end.
        """
        while not self._complete:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise Problem(400, "The request ended before its body did.")
        if len(self._parts) > 1:
            self._parts = [b"".join(self._parts)]
        return self._parts[0] if self._parts else b""

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
    """Keeps the raw request of those that carry `X-Async-Request`; lets all others pass."""

    def __init__(self, app: App, identities: Identities, limit_bytes: int) -> None:
        self._app = app
        self._identities = identities
        self._limit = limit_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one connection (ASGI)."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        scope[IDENTITIES] = self._identities
        if scope["type"] == "http" and _is_captured(scope):
            raw = RawRequest(scope, receive, self._limit)
            scope[RAW_REQUEST] = raw
            receive = raw.receive
        await self._app(scope, receive, send)


def _is_captured(scope: Scope) -> bool:
    # A replay carries the header too.
    return replay_info(scope) is None and any(
        name == _HEADER and asks_for_async(value.decode("latin-1"))
        for name, value in scope["headers"]
    )
