"""The hub behind a real uvicorn, in a thread of the test process, and what a client reads."""

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import redis
import uvicorn
from starlette.applications import Starlette
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.support.ports import free_port
from tests.support.waiting import wait_until
from ws_hub import Hub, HubSettings, TokenVerifier

SECRET = "a-secret-of-the-tests-with-more-than-32-bytes"
NAME = "anonymous-channel-of-a-test"


class RunningHub:
    def __init__(
        self,
        settings: HubSettings,
        app: Starlette | None = None,
        port: int | None = None,
        **options: Any,
    ) -> None:
        self.settings = settings
        self.hub = Hub(settings)
        self.app = app or Starlette()
        self.loop: asyncio.AbstractEventLoop | None = None
        self._note_loop()
        self.hub.install(self.app)
        self.port = port or free_port()
        config = uvicorn.Config(self.app, port=self.port, log_level="warning", **options)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)

    def start(self) -> None:
        self._thread.start()
        wait_until(lambda: self._server.started, within=10, what="uvicorn has started")

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(15)
        assert not self._thread.is_alive(), "uvicorn did not stop"

    def stop_hub_only(self) -> None:
        """As a server does that leaves closing the sockets to the app."""
        assert self.loop is not None
        asyncio.run_coroutine_threadsafe(self.hub.stop(), self.loop).result(10)

    def connect(self, query: str = f"channel={NAME}", **options: Any) -> ClientConnection:
        socket: ClientConnection = connect(f"ws://127.0.0.1:{self.port}/ws?{query}", **options)
        return socket

    def token(self, sub: str, lifetime_seconds: float = 60) -> str:
        return TokenVerifier(self.settings).issue(sub, lifetime_seconds)

    @contextlib.contextmanager
    def subscribed(
        self, query: str = f"channel={NAME}", **options: Any
    ) -> Iterator[ClientConnection]:
        with self.connect(query, **options) as socket:
            first = received(socket)
            while first == {"type": "ping"}:
                # Where subscribing takes longer than they are apart.
                first = received(socket)
            assert first["type"] == "subscribed"
            yield socket

    def _note_loop(self) -> None:
        inner = self.app.router.lifespan_context

        @contextlib.asynccontextmanager
        async def lifespan(app: Any) -> AsyncIterator[Any]:
            self.loop = asyncio.get_running_loop()
            async with inner(app) as state:
                yield state

        self.app.router.lifespan_context = lifespan


def received(socket: ClientConnection, within: float = 10) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(socket.recv(timeout=within))
    return message


def received_of_type(socket: ClientConnection, kind: str) -> dict[str, Any]:
    while True:
        message = received(socket)
        if message["type"] == kind:
            return message


def closed_with(socket: ClientConnection, within: float = 15) -> tuple[int, str]:
    """The close code and reason; messages that come before are read and dropped."""
    with pytest.raises(ConnectionClosed) as closed:
        _read_on(socket, within)
    frame = closed.value.rcvd
    assert frame is not None, "the connection ended without a close frame"
    return frame.code, frame.reason


def _read_on(socket: ClientConnection, within: float) -> None:
    while True:
        socket.recv(timeout=within)


def pubsub_connections(client: redis.Redis) -> int:
    return len(client.client_list(_type="pubsub"))
