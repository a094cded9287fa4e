"""Code without `await` that waits on an event loop: a greenlet seen as a coroutine.

asyncio drives a `GreenletCoroutine` as it drives any other: each step switches into the greenlet,
and what the greenlet waits for is handed back as what the step yields. So the code inside runs on
the loop's thread, in the asyncio task's context, and `asyncio.current_task()` is that task.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Any, Final, TypeVar, cast

from greenlet import getcurrent, greenlet

__all__ = ["BridgeGreenlet", "GreenletCoroutine", "in_bridge", "wait_in_bridge", "wait_whatever"]

T = TypeVar("T")


class BridgeGreenlet(greenlet):
    """A greenlet that a `GreenletCoroutine` drives; its parent is the event loop's greenlet."""


class GreenletCoroutine(Coroutine[Any, Any, None]):
    """Runs `function` in a greenlet of its own.

    Args:
        function: What to run; may call `wait_in_bridge`. Must not raise.
        translate: Called with each exception that asyncio throws in (a cancellation); what it
            returns is raised in the greenlet instead.
    """

    __slots__ = ("_greenlet", "_started", "_translate")

    def __init__(
        self,
        function: Callable[[], None],
        translate: Callable[[BaseException], BaseException],
    ) -> None:
        self._greenlet: Final = BridgeGreenlet(function)
        self._translate: Final = translate
        self._started = False

    def send(self, value: Any) -> Any:  # noqa: ARG002
        """One step of the event loop."""
        bridge = self._greenlet
        if not self._started:
            self._started = True
            # The very context of the asyncio task: what a coroutine of the task sets is seen by
            # what follows it, as in any asyncio task.
            bridge.gr_context = getcurrent().gr_context
        yielded = bridge.switch()
        if bridge.dead:
            raise StopIteration
        return yielded

    def throw(
        self,
        typ: Any,
        val: BaseException | object = None,
        tb: TracebackType | None = None,
        /,
    ) -> Any:
        """A step that begins with an exception."""
        error = typ if isinstance(typ, BaseException) else (val or typ())
        assert isinstance(error, BaseException)
        yielded = self._greenlet.throw(self._translate(error.with_traceback(tb)))
        if self._greenlet.dead:
            raise StopIteration
        return yielded

    def close(self) -> None:
        """Ends the greenlet, if it was begun."""
        if self._started and not self._greenlet.dead:
            super().close()

    def __await__(self) -> Any:
        raise TypeError("a GreenletCoroutine is for an asyncio task to drive")


def in_bridge() -> bool:
    """Whether this code can wait on the event loop without blocking it."""
    return isinstance(getcurrent(), BridgeGreenlet)


def wait_in_bridge(awaitable: Awaitable[T]) -> T:
    """The awaitable's result; the event loop runs meanwhile. Only where `in_bridge()`.

    Raises:
        BaseException: What the awaitable raises; asyncio.CancelledError if the task is cancelled.
    """
    parent = getcurrent().parent
    assert parent is not None
    switch = parent.switch
    coroutine = _coroutine(awaitable)
    error: BaseException | None = None
    while True:
        try:
            yielded = coroutine.send(None) if error is None else coroutine.throw(error)
        except StopIteration as stop:
            return cast("T", stop.value)
        error = None
        try:
            switch(yielded)
        except BaseException as thrown:  # noqa: BLE001  # it goes on into the coroutine
            error = thrown


class _Unstoppable(asyncio.Future[Any]):
    """A future that a cancelled task goes on waiting for."""

    def cancel(self, msg: Any | None = None) -> bool:  # noqa: ARG002
        return False


def wait_whatever(begin: Callable[[asyncio.Future[Any]], None]) -> Any:
    """Begins something that sets a future, and waits for it even if the task is cancelled.

    The cancellation is raised afterwards: what was begun has ended then.

    Raises:
        BaseException: What the future is given.
    """
    future = _Unstoppable()
    parent = getcurrent().parent
    assert parent is not None
    begin(future)
    thrown: BaseException | None = None
    while not future.done():
        # asyncio's own protocol between a future and the task that waits for it.
        future._asyncio_future_blocking = True  # noqa: SLF001
        try:
            parent.switch(future)
        except BaseException as error:  # noqa: BLE001  # raised below
            thrown = error
    if thrown is not None:
        future.exception()
        raise thrown
    return future.result()


def _coroutine(awaitable: Awaitable[T]) -> Coroutine[Any, Any, T]:
    if isinstance(awaitable, Coroutine):
        return awaitable

    async def waiting() -> T:
        return await awaitable

    return waiting()
