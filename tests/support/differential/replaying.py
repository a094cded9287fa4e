"""A front that takes each request the whole way of the library, but for broker and Redis.

Captured from the server's scope, sealed, opened, replayed, its answer sealed and opened; then
given to the client as the answer of the request itself, to be compared byte by byte.
"""

from datetime import UTC, datetime
from typing import Any

from pydantic import SecretStr

from respond_async import Settings
from respond_async.answer import Answer
from respond_async.envelope import CapturedRequest
from respond_async.raw_request import RawRequest
from respond_async.replay import ReplayApp
from respond_async.sealing import Sealer

_KEYS: Any = {"secret_key": [SecretStr("a key of the differential test, long enough")]}


class Replaying:
    """An ASGI app in front of the one at `where`."""

    def __init__(self, where: str) -> None:
        self._settings = Settings(**_KEYS, claim_check_bytes=100_000_000)
        self._app = ReplayApp(where, self._settings)
        self._requests = Sealer(self._settings, "request")
        self._answers = Sealer(self._settings, "answer")
        self.replayed = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await self._app.start()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await self._app.stop()
            await send({"type": "lifespan.shutdown.complete"})
            return
        self.replayed += 1
        raw = RawRequest(scope, receive, 100_000_000, 60)
        body = b"".join([part async for part in raw.stream()])
        captured = CapturedRequest.of(raw.scope, "id", datetime.now(UTC), "anon.channel")
        sealed = captured.sealed(body, self._requests)
        request, body = CapturedRequest.opened(sealed, self._requests)
        answer = await self._app.replay(request, body)
        stored = answer.sealed("id", request.endpoint, self._answers)
        answer = Answer.opened(stored.text, "id", self._answers)
        await send(
            {
                "type": "http.response.start",
                "status": answer.status,
                "headers": [
                    (name.encode("latin-1"), value.encode("latin-1"))
                    for name, value in answer.headers
                ],
            }
        )
        await send({"type": "http.response.body", "body": answer.body})
