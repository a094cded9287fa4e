"""Results written to Redis in batches, by a thread of their own.

A thousand tasks that end together are two round trips here rather than two thousand, and none of
them blocks the event loop.
"""

import asyncio
import contextvars
import logging
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from typing import Any, Final, NamedTuple

from celery.backends.base import Backend
from celery.exceptions import BackendStoreError

from respond_async.pool.bridge import in_bridge, wait_whatever
from respond_async.pool.mailbox import Mailbox

__all__ = ["ResultWriter", "settle"]

logger = logging.getLogger(__name__)

_BATCH: Final = 500
#: The methods that say how Celery's Redis backend writes a result. One that has others of its own
#: is called as it is.
_OURS: Final = ("get", "set", "_set", "_store_result", "_set_with_state", "_get_task_meta_for")


class _Entry(NamedTuple):
    future: asyncio.Future[Any]
    context: contextvars.Context
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @property
    def task_id(self) -> Any:
        return self.args[0] if self.args else self.kwargs["task_id"]


class ResultWriter:
    """One thread that stores the results of one backend. Starts with the first of them.

    Args:
        mailbox: The loop's, which hears of what was stored.
        threads: Where a result is stored by itself if its batch fails, with the backend's retries.
        backend: The backend to write with; called in the thread that is to use it.
    """

    def __init__(
        self, mailbox: Mailbox, threads: ThreadPoolExecutor, backend: Callable[[], Any]
    ) -> None:
        self._mailbox: Final = mailbox
        self._threads: Final = threads
        self._backend: Final = backend
        self._entries: Final[queue.SimpleQueue[_Entry | None]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    @staticmethod
    def fits(backend: Backend) -> bool:
        """Whether it is Celery's Redis backend, and writes as that does."""
        try:
            from celery.backends.redis import RedisBackend
        except ImportError:
            return False
        return isinstance(backend, RedisBackend) and all(
            getattr(type(backend), name) is getattr(RedisBackend, name) for name in _OURS
        )

    def storing(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """`Backend.store_result`, done by the writer for a task on the loop."""

        @wraps(original)
        def store_result(*args: Any, **kwargs: Any) -> Any:
            if not in_bridge():
                return original(*args, **kwargs)
            context = contextvars.copy_context()
            return wait_whatever(lambda future: self._put(_Entry(future, context, args, kwargs)))

        return store_result

    def stop(self) -> None:
        """Ends the thread after what it was given."""
        if self._thread is not None:
            self._entries.put(None)
            self._thread.join()

    def _put(self, entry: _Entry) -> None:
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._serve, name="respond_async.pool.results", daemon=True
            )
            self._thread.start()
        self._entries.put(entry)

    def _serve(self) -> None:
        pen = _Pen(self._backend())
        going_on = True
        while going_on:
            entries = []
            entry = self._entries.get()
            while entry is not None:
                entries.append(entry)
                if len(entries) == _BATCH or self._entries.empty():
                    break
                entry = self._entries.get()
            going_on = entry is not None
            if entries:
                self._store(pen, entries)

    def _store(self, pen: "_Pen", entries: Sequence[_Entry]) -> None:
        try:
            outcomes = pen.store(entries)
        except Exception as error:  # noqa: BLE001  # any fault of the connection
            logger.warning(
                "%d results could not be stored together (%r): each is tried by itself",
                len(entries),
                error,
            )
            for entry in entries:
                self._threads.submit(self._store_one, entry)
            return
        answers: list[tuple[Callable[..., object], tuple[Any, ...]]] = []
        for entry, outcome in zip(entries, outcomes, strict=True):
            if isinstance(outcome, _Retry):
                self._threads.submit(self._store_one, entry)
            elif isinstance(outcome, Exception):
                answers.append((settle, (entry.future, None, outcome)))
            else:
                answers.append((settle, (entry.future, outcome.result, None)))
        self._mailbox.post_all(answers)

    def _store_one(self, entry: _Entry) -> None:
        try:
            result = entry.context.run(self._backend().store_result, *entry.args, **entry.kwargs)
        except BaseException as error:  # noqa: BLE001  # it goes to who waits
            self._mailbox.post(settle, entry.future, None, error)
        else:
            self._mailbox.post(settle, entry.future, result, None)


class _Stored(NamedTuple):
    result: Any


class _Retry:
    """This one is to be tried again by itself."""


class _Pen:
    """A backend whose reads were made before and whose writes are made after, for many at once.

    What is written, and whether, is decided by Celery's own code.
    """

    def __init__(self, backend: Any) -> None:
        self._backend: Final = backend
        self._read: dict[Any, Any] = {}
        self._written: list[tuple[Any, Any, Any]] = []
        # A copy that shares all but these two; `copy.copy` would make a backend anew.
        self._double: Final = object.__new__(type(backend))
        self._double.__dict__.update(vars(backend))
        self._double.get = self._get
        self._double.set = self._set

    def store(self, entries: Sequence[_Entry]) -> list[Any]:
        """For each entry what became of it: `_Stored`, `_Retry` or the exception it is to raise."""
        backend = self._backend
        keys = [backend.get_key_for_task(entry.task_id) for entry in entries]
        self._read = dict(zip(keys, backend.client.mget(keys), strict=True))
        outcomes: list[Any] = []
        writes: list[tuple[int, Any, Any, Any]] = []
        for index, entry in enumerate(entries):
            self._written = []
            try:
                outcomes.append(_Stored(entry.context.run(self._store_result, entry)))
            except Exception as error:  # noqa: BLE001  # it goes to who waits
                outcomes.append(error)
            writes += [(index, *write) for write in self._written]
        for index in self._failed(writes):
            outcomes[index] = _Retry()
        return outcomes

    def _store_result(self, entry: _Entry) -> Any:
        # Of the class: the instance may have the hook that led here.
        return type(self._backend).store_result(self._double, *entry.args, **entry.kwargs)

    def _failed(self, writes: Sequence[tuple[int, Any, Any, Any]]) -> set[int]:
        if not writes:
            return set()
        # Without a transaction: each of the writes stands for itself.
        with self._backend.client.pipeline(transaction=False) as pipe:
            # Not by their methods, which take three times as long to look at what they are given.
            for _, key, value, expires in writes:
                ends = ("EX", expires) if expires else ()
                pipe.execute_command("SET", key, value, *ends)
                pipe.execute_command("PUBLISH", key, value)
            answers = pipe.execute(raise_on_error=False)
        return {
            write[0]
            for write, stored, told in zip(writes, answers[::2], answers[1::2], strict=True)
            if isinstance(stored, Exception) or isinstance(told, Exception)
        }

    def _get(self, key: Any) -> Any:
        return self._read[key] if key in self._read else self._backend.get(key)

    def _set(self, key: Any, value: Any, expires: Any = None, **_: Any) -> None:
        if isinstance(value, str) and len(value) > self._backend._MAX_STR_VALUE_SIZE:  # noqa: SLF001
            raise BackendStoreError("value too large for Redis backend")
        self._written.append((key, value, self._backend.expires if expires is None else expires))


def settle(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    """Ends a future, on the loop's thread."""
    if error is None:
        future.set_result(result)
    elif isinstance(error, StopIteration):
        # asyncio refuses it.
        future.set_exception(RuntimeError(repr(error)))
    else:
        future.set_exception(error)
