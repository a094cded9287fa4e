"""What the worker's main thread is to be told by the others: acceptances, ends, time limits.

Celery's bookkeeping of requests is of one thread, and with an event loop Celery even takes the
locks out of it; so its callbacks are never called from the threads that run tasks.
"""

import logging
import os
import select
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from celery.exceptions import WorkerShutdown, WorkerTerminate

__all__ = ["Notices"]

logger = logging.getLogger(__name__)

#: Calls made before the worker's loop may look at other things.
_TURN: Final = 200


class Notices:
    """A queue of calls with a file descriptor that is readable while there are some.

    With a transport that has no event loop, a thread of its own makes the calls (`start_thread`).
    """

    def __init__(self) -> None:
        self._calls: Final[deque[tuple[Callable[..., object], tuple[Any, ...]]]] = deque()
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)
        self._lock: Final = threading.Lock()
        # Whether there is a byte in the pipe. Written with the lock held.
        self._rung = False
        self._closed = False
        self._thread: threading.Thread | None = None

    def fileno(self) -> int:
        """The descriptor for a poller."""
        return self._reader

    def post(self, function: Callable[..., object], *args: Any) -> None:
        """Has `function` called by the main thread; from any thread."""
        with self._lock:
            self._calls.append((function, args))
            if not self._rung and not self._closed:
                self._rung = True
                os.write(self._writer, b"\0")

    def read(self) -> None:
        """Makes the calls that wait, some at a time; called by the main thread."""
        for _ in range(_TURN):
            try:
                function, args = self._calls.popleft()
            except IndexError:
                break
            try:
                function(*args)
            except (WorkerShutdown, WorkerTerminate):
                raise
            except Exception:
                logger.exception("a callback of the worker failed")
        with self._lock:
            if self._rung and not self._calls and not self._closed:
                self._rung = False
                os.read(self._reader, 1)

    def wait(self, seconds: float) -> None:
        """Waits for calls, and makes them."""
        # Not select(): it takes no descriptor above 1,023, and thousands of tasks have as many open.
        poller = select.poll()
        poller.register(self._reader, select.POLLIN)
        if poller.poll(seconds * 1000):
            self.read()

    def start_thread(self) -> None:
        """Makes the calls in a thread, from now on."""
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._serve, name="respond_async.pool.notices", daemon=True
            )
            self._thread.start()

    @property
    def has_thread(self) -> bool:
        """Whether a thread makes the calls."""
        return self._thread is not None

    def close(self) -> None:
        """Ends the thread; what is still posted is never called."""
        self.post(self._close)
        if self._thread is None:
            while not self._closed:
                self.read()
        elif self._thread is not threading.current_thread():
            self._thread.join()

    def _close(self) -> None:
        with self._lock:
            self._closed = True
            os.close(self._reader)
            os.close(self._writer)

    def _serve(self) -> None:
        while not self._closed:
            self.wait(60)
