"""Blocking calls made from a task on the event loop, done in threads meanwhile.

Celery's tracer stores results and publishes messages by calls that block. In a task on the loop
these calls are made in threads, and the task waits for them as it would for a coroutine.
"""

import asyncio
import contextvars
import logging
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from typing import Any, Final, ParamSpec, TypeVar

from celery import Celery
from celery.backends.base import Backend, DisabledBackend

from respond_async.pool.bridge import in_bridge, wait_whatever
from respond_async.pool.mailbox import Mailbox
from respond_async.pool.store import ResultWriter, settle

__all__ = ["Offload", "in_thread"]

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

_THREADS: Final = 8

#: What a result backend does over the network for a task that runs or asks.
_BACKEND_CALLS: Final = (
    "store_result", "get_task_meta", "on_chord_part_return", "apply_chord", "set_chord_size",
    "add_to_chord", "forget", "save_group", "get_group_meta", "delete_group",
)  # fmt: skip

_current: "Offload | None" = None


class Offload:
    """The threads, and the hooks in one Celery application that lead there.

    Args:
        app: The application whose result backend and publishing are to keep off the loop.
        mailbox: The loop's.
    """

    def __init__(self, app: Celery, mailbox: Mailbox) -> None:
        global _current  # noqa: PLW0603
        self._app: Final[Any] = app
        self._mailbox: Final = mailbox
        self._threads: Final = ThreadPoolExecutor(_THREADS, "respond_async.pool.io")
        # Of its own: whoever has a producer and waits for a thread to publish with it must not
        # wait for one that waits for a producer.
        self._acquiring: Final = ThreadPoolExecutor(1, "respond_async.pool.producer")
        self._writers: Final[list[ResultWriter]] = []
        self._undo: Final[list[Callable[[], object]]] = []
        _current = self

    def install(self) -> None:
        """Puts the hooks in; called on the loop's thread, whose result backend is its own."""
        app = self._app
        self._offload(app, ("send_task",))
        if hasattr(app, "_acquire_producer"):
            self._offload(app, ("_acquire_producer",), self._acquiring)
        # Celery 5.7: publishes callbacks and the next of a chain, with pauses between its tries.
        if hasattr(app.amqp, "_retry_publish"):
            self._offload(app.amqp, ("_retry_publish",))
        backends = {id(app.backend): app.backend}
        for task in app.tasks.values():
            backends.setdefault(id(task.backend), task.backend)
        for backend in backends.values():
            self._install_backend(backend)

    def stop(self) -> None:
        """Takes the hooks out and ends the threads, once they are done."""
        global _current  # noqa: PLW0603
        _current = None
        for undo in reversed(self._undo):
            undo()
        self._undo.clear()
        for writer in self._writers:
            writer.stop()
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._acquiring.shutdown(wait=False, cancel_futures=True)

    def call(
        self,
        threads: ThreadPoolExecutor,
        function: Callable[..., T],
        args: Iterable[Any],
        kwargs: dict[str, Any],
    ) -> T:
        """Calls `function` in a thread, with the task's context variables."""
        context = contextvars.copy_context()

        def begin(future: asyncio.Future[Any]) -> None:
            threads.submit(run, future)

        def run(future: asyncio.Future[Any]) -> None:
            try:
                result = context.run(function, *args, **kwargs)
            except BaseException as error:  # noqa: BLE001  # it goes to who waits
                self._mailbox.post(settle, future, None, error)
            else:
                self._mailbox.post(settle, future, result, None)

        result: T = wait_whatever(begin)
        return result

    def in_thread(self, function: Callable[..., T], args: Any, kwargs: Any) -> T:
        """As `in_thread` of this module."""
        return self.call(self._threads, function, args, kwargs)

    def _install_backend(self, backend: Backend) -> None:
        if isinstance(backend, DisabledBackend):
            return
        # A backend that is not thread-safe is one per thread, so a thread takes its own.
        local = backend is getattr(self._app._local, "backend", None)  # noqa: SLF001
        names: tuple[str, ...] = _BACKEND_CALLS
        if ResultWriter.fits(backend):
            own: Callable[[], Any] = (lambda: self._app.backend) if local else (lambda: backend)
            writer = ResultWriter(self._mailbox, self._threads, own)
            self._writers.append(writer)
            self._set(backend, "store_result", writer.storing(backend.store_result))
            names = tuple(name for name in names if name != "store_result")
        for name in names:
            if hasattr(backend, name):
                self._set(backend, name, self._offloaded_call(backend, name, local=local))

    def _offloaded_call(self, backend: Backend, name: str, *, local: bool) -> Callable[..., Any]:
        original = getattr(backend, name)

        def in_own_thread(*args: Any, **kwargs: Any) -> Any:
            function = getattr(self._app.backend, name) if local else original
            return function(*args, **kwargs)

        @wraps(original)
        def offloaded(*args: Any, **kwargs: Any) -> Any:
            if in_bridge():
                return self.in_thread(in_own_thread, args, kwargs)
            return original(*args, **kwargs)

        return offloaded

    def _offload(
        self, owner: Any, names: Iterable[str], threads: ThreadPoolExecutor | None = None
    ) -> None:
        for name in names:
            self._set(owner, name, self._offloaded(getattr(owner, name), threads or self._threads))

    def _offloaded(
        self, original: Callable[..., Any], threads: ThreadPoolExecutor
    ) -> Callable[..., Any]:
        @wraps(original)
        def offloaded(*args: Any, **kwargs: Any) -> Any:
            if in_bridge():
                return self.call(threads, original, args, kwargs)
            return original(*args, **kwargs)

        return offloaded

    def _set(self, owner: Any, name: str, value: Any) -> None:
        had = name in vars(owner)
        before = vars(owner).get(name)
        setattr(owner, name, value)

        def undo() -> None:
            if had:
                setattr(owner, name, before)
            else:
                delattr(owner, name)

        self._undo.append(undo)


def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Calls a function that blocks: in a thread, if this is a task on the pool's event loop.

    The task waits, the loop goes on; context variables, and with them `self.request`, are there in
    the thread. Anywhere else, in a thread or without the pool, it is a plain call.
    """
    offload = _current
    if offload is None or not in_bridge():
        return function(*args, **kwargs)
    return offload.in_thread(function, args, kwargs)
