"""X-Request-ID: one name for a request in the logs of the client, the proxy, the app and the worker."""

import re
import secrets
from typing import Any, Final

from fastapi import FastAPI

from respond_async.log_context import LOG_CONTEXT, LogContext
from respond_async.raw_request import App, Message, Receive, Send
from respond_async.scope import REQUEST_ID, Scope, replay_info

__all__ = ["RequestIds"]

_HEADER: Final = b"x-request-id"
#: What a client may choose; it stands in log lines, so nothing that could look like another one.
_ALLOWED: Final = re.compile(rb"[A-Za-z0-9._-]{1,128}")


class RequestIds:
    """Outermost of all: takes the request's X-Request-ID, or makes one, and answers with it.

    One with other characters than `A-Z a-z 0-9 . _ -`, or more than 128 of them, is not taken. A
    replay passes as it is: its lines have the id of its request already, and the header is one of
    the exchange in which an answer goes out, as `Date` and `Server` are, not of the answer.

    Args:
        app: The app.
    """

    def __init__(self, app: App) -> None:
        self._app: Final = app

    @classmethod
    def install(cls, app: FastAPI) -> None:
        """Puts it around all middlewares of an app, those that are added later too."""
        build = app.build_middleware_stack

        def build_with_ids() -> Any:
            return cls(build())

        app.build_middleware_stack = build_with_ids  # type: ignore[method-assign]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one connection (ASGI)."""
        if scope["type"] != "http" or replay_info(scope) is not None:
            await self._app(scope, receive, send)
            return
        request_id = _given(scope) or secrets.token_hex(16)
        scope[REQUEST_ID] = request_id
        LOG_CONTEXT.set(LogContext(request_id))

        async def with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = message.get("headers") or []
                # The app's own stands.
                if not any(name.lower() == _HEADER for name, _ in headers):
                    message = {**message, "headers": [*headers, (_HEADER, request_id.encode())]}
            await send(message)

        await self._app(scope, receive, with_id)


def _given(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == _HEADER:
            return value.decode() if _ALLOWED.fullmatch(value) else ""
    return ""
