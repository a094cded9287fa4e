"""Calls handed to an event loop from other threads, one wake-up for any number of them."""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final

__all__ = ["Mailbox"]

logger = logging.getLogger(__name__)

#: Calls made before the loop may look at other things.
_TURN: Final = 100


class Mailbox:
    """What other threads want done on a loop, in order.

    `call_soon_threadsafe` writes to a socket each time; a thousand results that come back from one
    batch are one write here.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop: Final = loop
        self._calls: Final[deque[tuple[Callable[..., object], tuple[Any, ...]]]] = deque()
        self._lock: Final = threading.Lock()
        # Whether the loop was told. Written with the lock held.
        self._rung = False

    def post(self, function: Callable[..., object], *args: Any) -> None:
        """Calls `function` on the loop's thread; from any thread. Dropped once the loop is closed."""
        with self._lock:
            self._calls.append((function, args))
            if self._rung:
                return
            self._rung = True
        self._ring()

    def post_all(self, calls: list[tuple[Callable[..., object], tuple[Any, ...]]]) -> None:
        """As `post`, for several."""
        with self._lock:
            self._calls.extend(calls)
            if self._rung:
                return
            self._rung = True
        self._ring()

    def _ring(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._read)
        except RuntimeError:
            logger.debug("the loop is closed; its calls are dropped")

    def _read(self) -> None:
        calls = self._calls
        for _ in range(_TURN):
            try:
                function, args = calls.popleft()
            except IndexError:
                break
            try:
                function(*args)
            except Exception:
                logger.exception("%r failed on the event loop", function)
        with self._lock:
            self._rung = bool(calls)
        if self._rung:
            self._loop.call_soon(self._read)
