"""uvicorn's sans-I/O WebSocket implementation, without what an idle connection need not keep.

    uvicorn ws_hub.main:app --ws ws_hub.lean:LeanWebSocket

It sheds 6 KB a connection: the headers of a handshake that is over, and asyncio's queue and event,
which have a deque for each list that is nearly always empty.
"""

import asyncio
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

__all__ = ["LeanWebSocket"]


class _Queue:
    """What of `asyncio.Queue` the implementation uses: one reader, no bound."""

    __slots__ = ("_items", "_reader")

    def __init__(self) -> None:
        self._items: list[Any] | None = None
        self._reader: asyncio.Future[None] | None = None

    def put_nowait(self, item: Any) -> None:
        if self._items is None:
            self._items = [item]
        else:
            self._items.append(item)
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    async def get(self) -> Any:
        while self._items is None:
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        item = self._items.pop(0)
        if not self._items:
            self._items = None
        return item

    def empty(self) -> bool:
        return self._items is None


class _Flag:
    """What of `asyncio.Event` it uses."""

    __slots__ = ("_set", "_waiting")

    def __init__(self) -> None:
        self._set = True
        self._waiting: list[asyncio.Future[None]] | None = None

    def set(self) -> None:
        self._set = True
        waiting, self._waiting = self._waiting, None
        for one in waiting or ():
            if not one.done():
                one.set_result(None)

    def clear(self) -> None:
        self._set = False

    def is_set(self) -> bool:
        return self._set

    async def wait(self) -> bool:
        while not self._set:
            one = asyncio.get_running_loop().create_future()
            self._waiting = [*(self._waiting or ()), one]
            await one
        return True


class LeanWebSocket(WebSocketsSansIOProtocol):
    """One connection."""

    # Python shares the names of 30 attributes among a class' objects, and gives an object that has
    # more a table of its own, of 2 KB.
    __slots__ = (
        "app", "app_state", "asgi_version", "config", "connections", "default_headers", "logger", "loop",
        "queue", "root_path", "scheme", "server", "tasks", "writable",
    )  # fmt: skip

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.queue: Any = _Queue()
        self.writable: Any = _Flag()

    async def send(self, message: Any) -> None:
        """Sends; forgets the handshake once it is over. The scope's headers are the application's."""
        await super().send(message)
        if message["type"] == "websocket.accept":
            self.request.headers.clear()
            self.response.headers.clear()
