"""Calls made at their time by a thread of their own, whatever the event loop does."""

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Final

__all__ = ["Timer", "Timers"]

logger = logging.getLogger(__name__)

#: Cancelled timers are swept out once there are this many, and they are more than half.
_SWEEP: Final = 512


class Timer:
    """One call to be made."""

    __slots__ = ("_args", "_function", "due", "number")

    def __init__(
        self, due: float, number: int, function: Callable[..., object], args: tuple[Any, ...]
    ) -> None:
        self.due: Final = due
        self.number: Final = number
        self._function: Callable[..., object] | None = function
        self._args = args

    @property
    def cancelled(self) -> bool:
        """Whether it is never to be called."""
        return self._function is None

    def drop(self) -> None:
        """Lets go of the function and what it was to be called with."""
        self._function = None
        self._args = ()

    def call(self) -> None:
        """Makes the call, unless it was cancelled."""
        function = self._function
        if function is not None:
            function(*self._args)

    def __lt__(self, other: "Timer") -> bool:
        return (self.due, self.number) < (other.due, other.number)


class Timers:
    """The thread; it starts on creation."""

    def __init__(self) -> None:
        self._heap: list[Timer] = []
        self._cancelled = 0
        self._numbers: Final = itertools.count()
        self._changed: Final = threading.Condition()
        self._stopping = False
        self._thread: Final = threading.Thread(
            target=self._run, name="respond_async.pool.timers", daemon=True
        )
        self._thread.start()

    def after(self, seconds: float, function: Callable[..., object], *args: Any) -> Timer:
        """Calls `function` in `seconds`. It must be quick: the others wait for it."""
        timer = Timer(time.monotonic() + seconds, next(self._numbers), function, args)
        with self._changed:
            heapq.heappush(self._heap, timer)
            if self._heap[0] is timer:
                self._changed.notify()
        return timer

    def cancel(self, timer: Timer) -> None:
        """Never calls it, if it was not called yet."""
        with self._changed:
            timer.drop()
            self._cancelled += 1
            if self._cancelled > max(_SWEEP, len(self._heap) // 2):
                self._heap = [each for each in self._heap if not each.cancelled]
                heapq.heapify(self._heap)
                self._cancelled = 0

    def __len__(self) -> int:
        return len(self._heap)

    def stop(self) -> None:
        """Ends the thread; what is not due is never called."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._stopping:
                    left = self._heap[0].due - time.monotonic() if self._heap else None
                    if left is not None and left <= 0:
                        break
                    self._changed.wait(left)
                if self._stopping:
                    return
                timer = heapq.heappop(self._heap)
                if timer.cancelled:
                    self._cancelled = max(0, self._cancelled - 1)
            try:
                timer.call()
            except Exception:
                logger.exception("a timer of the pool failed")
