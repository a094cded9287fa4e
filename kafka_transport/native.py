"""Threads and locks of the operating system, also where gevent has put its own in their place.

librdkafka blocks in C, where gevent cannot switch: a "thread" that is a greenlet would stop the
whole process with each poll(). So what polls is a real thread, and the locks that it shares with
greenlets are real ones, held for moments and never over a switch. Requests that take a while are
made in gevent's pool of threads, so that other greenlets go on.
"""

import contextlib
import importlib
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = ["Lock", "Signal", "Thread", "acquire", "eventlet_patched", "off_hub", "outcome"]

T = TypeVar("T")

#: Seconds between two looks of a greenlet at whether a thread or a future has ended.
LOOK_SECONDS: Final = 0.005


def _patched() -> bool:
    monkey: Any = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("threading"))


def eventlet_patched() -> bool:
    """Whether eventlet's green threads stand in the place of real ones."""
    patcher: Any = sys.modules.get("eventlet.patcher")
    return patcher is not None and bool(patcher.is_monkey_patched("thread"))


def _original(module: str, name: str) -> Any:
    monkey: Any = sys.modules.get("gevent.monkey")
    if monkey is None:
        return getattr(importlib.import_module(module), name)
    return monkey.get_original(module, name)


def Lock() -> threading.Lock:  # noqa: N802  # stands for threading's
    """A lock for real threads; a greenlet that waits for it stops its whole thread."""
    lock: threading.Lock = _original("_thread", "allocate_lock")()
    return lock


def acquire(lock: threading.Lock, timeout: float) -> bool:
    """As the lock's own method; other greenlets go on."""
    if not _patched():
        return lock.acquire(timeout=max(0.0, timeout))
    deadline = time.monotonic() + timeout
    while not lock.acquire(blocking=False):
        if time.monotonic() > deadline:
            return False
        time.sleep(LOOK_SECONDS)
    return True


class Signal:
    """An event for which one real thread waits, and that any thread or greenlet sets."""

    def __init__(self) -> None:
        self._set = False
        self._lock: Final = Lock()
        self._lock.acquire()

    def is_set(self) -> bool:
        """Whether it was set and not cleared."""
        return self._set

    def set(self) -> None:
        """Wakes the thread that waits."""
        self._set = True
        # Unlocked already: set twice.
        with contextlib.suppress(RuntimeError):
            self._lock.release()

    def clear(self) -> None:
        """The next wait is one."""
        self._set = False
        self._lock.acquire(blocking=False)

    def wait(self, timeout: float) -> bool:
        """Whether it is set, within `timeout` seconds."""
        if not self._set:
            self._lock.acquire(timeout=timeout)
        return self._set


class Thread:
    """A daemon thread that is one. Use like threading's."""

    def __init__(self, *, target: Callable[[], None], name: str) -> None:
        self._target: Final = target
        self._ended = False
        self._thread: threading.Thread | None = None
        if not _patched():
            self._thread = threading.Thread(target=target, name=name, daemon=True)

    def start(self) -> None:
        """Runs the target."""
        if self._thread is not None:
            self._thread.start()
        else:
            _original("_thread", "start_new_thread")(self._run, ())

    def _run(self) -> None:
        try:
            self._target()
        finally:
            self._ended = True

    def is_alive(self) -> bool:
        """Whether the target still runs."""
        return self._thread.is_alive() if self._thread is not None else not self._ended

    def join(self, timeout: float) -> None:
        """Waits for the end of the target; other greenlets go on."""
        if self._thread is not None:
            self._thread.join(timeout)
            return
        deadline = time.monotonic() + timeout
        while not self._ended and time.monotonic() < deadline:
            time.sleep(LOOK_SECONDS)


def off_hub(request: Callable[[], T]) -> T:
    """The result of a call into C, for which other greenlets do not have to wait."""
    if not _patched():
        return request()
    hub = importlib.import_module("gevent").getcurrent().parent
    pool = getattr(hub, "threadpool", None)
    if pool is None:
        # In a real thread, or in the hub itself, there is nobody to make room for.
        return request()
    # An error is carried as a value: gevent's pool prints a traceback of what is raised in it.
    result, error = pool.apply(_caught, (request,))
    if error is not None:
        raise error
    return cast("T", result)


def _caught(request: Callable[[], T]) -> tuple[T | None, Exception | None]:
    try:
        return request(), None
    except Exception as error:  # noqa: BLE001  # raised again by the caller
        return None, error


def outcome(future: "Future[T]", timeout: float | None = None) -> T:
    """The future's result; other greenlets go on.

    A real thread ends the future, and a wait on gevent's locks is not ended from outside its hub.

    Raises:
        TimeoutError: It has none after `timeout` seconds.
    """
    if not _patched():
        return future.result(timeout)
    deadline = None if timeout is None else time.monotonic() + timeout
    # Not done(): each look would take the lock that the other thread needs to end it.
    ended: list[object] = []
    future.add_done_callback(ended.append)
    while not ended:
        if deadline is not None and time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(LOOK_SECONDS)
    return future.result(0)
