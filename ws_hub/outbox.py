"""What waits for one client to read it."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from ws_hub.cancelling import cancel_all


class Outbox:
    """A bounded queue and, while something is in it, a task that empties it.

    Whoever publishes never waits (`put`); history does (`room`). Ten thousand idle clients have
    neither queue nor task.

    Args:
        send: Sends one message; may wait for the client.
        messages: How many may wait.
        timeout_seconds: How long one may take to leave.
        slow: Called once one does not, or more wait.
        lost: Called with what `send` raises: the client has gone.
    """

    __slots__ = (
        "_idle",
        "_limit",
        "_lost",
        "_room",
        "_send",
        "_slow",
        "_timeout",
        "_waiting",
        "_writer",
    )

    def __init__(
        self,
        send: Callable[[str], Awaitable[None]],
        messages: int,
        timeout_seconds: float,
        *,
        slow: Callable[[], None],
        lost: Callable[[Exception], None],
    ) -> None:
        self._send: Final = send
        self._limit: Final = messages
        self._timeout: Final = timeout_seconds
        self._slow: Final = slow
        self._lost: Final = lost
        self._waiting: deque[str] | None = None
        self._writer: asyncio.Task[None] | None = None
        self._room: asyncio.Event | None = None

    def put(self, text: str) -> None:
        """Sends it as soon as what is before it has left."""
        if self._waiting is None:
            self._waiting = deque()
        elif len(self._waiting) >= self._limit:
            self._slow()
            return
        self._waiting.append(text)
        if self._writer is None:
            self._writer = asyncio.get_running_loop().create_task(self._write())

    async def room(self) -> None:
        """Returns once half of the queue is free, so that what is live finds a place too."""
        while self._waiting is not None and len(self._waiting) > self._limit // 2:
            if self._room is None:
                self._room = asyncio.Event()
            await self._room.wait()

    async def close(self) -> None:
        """Throws away what waits; returns once nothing is being sent."""
        self._waiting = None
        if self._writer is not None:
            await cancel_all([self._writer])

    async def _write(self) -> None:
        try:
            while self._waiting:
                try:
                    async with asyncio.timeout(self._timeout):
                        await self._send(self._waiting[0])
                except TimeoutError:
                    self._slow()
                    return
                if self._waiting:
                    self._waiting.popleft()
                if (
                    self._room is not None
                    and self._waiting
                    and len(self._waiting) <= self._limit // 2
                ):
                    self._room.set()
                    self._room = None
        except Exception as error:  # noqa: BLE001 - it goes to who ends the session
            self._lost(error)
        finally:
            self._waiting = None
            self._writer = None
            if self._room is not None:
                self._room.set()
                self._room = None
