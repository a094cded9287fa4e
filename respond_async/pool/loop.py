"""The event loop on which async tasks run, in a thread of its own, one per process."""

import asyncio
import contextvars
import logging
import os
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from typing import Any, Final, TypeVar

from respond_async.pool.bridge import GreenletCoroutine, in_bridge, wait_in_bridge
from respond_async.pool.errors import NoLoop
from respond_async.pool.job import JOB, Job
from respond_async.pool.mailbox import Mailbox

__all__ = [
    "JobTask",
    "LoopThread",
    "await_",
    "before_stop",
    "on_loop_thread",
    "pause",
    "running_loop",
]

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: How long what tasks left behind may take to end, once the loop is to stop.
_LEFTOVERS_SECONDS: Final = 1.0
#: How long what was registered by `before_stop` may take.
_GOODBYE_SECONDS: Final = 30.0
#: How long the loop may take to end beside that.
_END_SECONDS: Final = 5.0

_running: "LoopThread | None" = None


class JobTask(asyncio.Task[Any]):
    """An asyncio task that knows for which job it works; its child tasks do too."""

    __slots__ = ("job",)

    def __init__(self, coroutine: Any, **options: Any) -> None:
        context = options.get("context")
        self.job: Job | None = JOB.get(None) if context is None else context.get(JOB)
        super().__init__(coroutine, **options)


class LoopThread:
    """Starts the thread and the loop on creation.

    Args:
        use_uvloop: Take uvloop's event loop where it is installed.
        finished: Called on the loop's thread with each job that ended.
    """

    def __init__(self, finished: Callable[[Job], None], *, use_uvloop: bool = True) -> None:
        self._finished: Final = finished
        self.pid: Final = os.getpid()
        self.loop: Final = _new_loop(use_uvloop=use_uvloop)
        self.mailbox: Final = Mailbox(self.loop)
        self.goodbyes: Final[list[Callable[[], Awaitable[object]]]] = []
        self._ready: Final = threading.Event()
        self.thread: Final = threading.Thread(
            target=self._run, name="respond_async.pool.loop", daemon=True
        )
        # What receivers and lifespans set on the loop is seen by all jobs, never the other way.
        self._context: contextvars.Context = contextvars.Context()
        self.thread.start()
        self._ready.wait()

    @property
    def implementation(self) -> str:
        """The event loop's own name: `uvloop` or `asyncio`."""
        return type(self.loop).__module__.partition(".")[0]

    def submit(self, job: Job) -> None:
        """Runs a job on the loop; from any thread."""
        self.mailbox.post(self._begin, job)

    def call(self, function: Callable[[], T]) -> T:
        """The function's result, called on the loop's thread, which is not the caller's."""
        future: Future[T] = Future()

        def run() -> None:
            try:
                future.set_result(function())
            except BaseException as error:  # noqa: BLE001  # it goes to the caller
                future.set_exception(error)

        self.loop.call_soon_threadsafe(run)
        return future.result()

    def current_job(self) -> tuple[bool, Job | None]:
        """Whether an asyncio task runs just now, and its job; from any thread."""
        task = asyncio.current_task(self.loop)
        return task is not None, getattr(task, "job", None)

    def stop(self) -> bool:
        """Ends loop and thread; whether they ended in time."""
        try:
            self.loop.call_soon_threadsafe(self.loop.stop)
        except RuntimeError:
            return True
        self.thread.join(_END_SECONDS + (_GOODBYE_SECONDS if self.goodbyes else 0))
        return not self.thread.is_alive()

    def _begin(self, job: Job) -> None:
        context = self._context.copy()
        context.run(JOB.set, job)
        job.task = self.loop.create_task(
            GreenletCoroutine(job.run, job.translate),
            context=context,
        )
        job.task.add_done_callback(self._end, context=self._context)
        if job.killed:
            job.cancel()

    def _end(self, task: asyncio.Task[Any]) -> None:
        job: Job = task.job  # type: ignore[attr-defined]
        if not task.cancelled() and task.exception() is not None:
            logger.critical("the bridge of %s broke", job, exc_info=task.exception())
        job.task = None
        self._finished(job)

    def _run(self) -> None:
        global _running  # noqa: PLW0603
        asyncio.set_event_loop(self.loop)
        self.loop.set_task_factory(_task_factory)
        _running = self
        self.loop.call_soon(self._ready.set)
        try:
            self.loop.run_forever()
        finally:
            try:
                self.loop.run_until_complete(self._say_goodbye())
            finally:
                _running = None
                self._close()

    async def _say_goodbye(self) -> None:
        for function in reversed(self.goodbyes):
            try:
                async with asyncio.timeout(_GOODBYE_SECONDS):
                    await function()
            except Exception:
                logger.exception("%r failed at the end of the event loop", function)

    def _close(self) -> None:
        tasks = asyncio.all_tasks(self.loop)
        for task in tasks:
            task.cancel()
        try:
            if tasks:
                self.loop.run_until_complete(asyncio.wait(tasks, timeout=_LEFTOVERS_SECONDS))
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        except Exception:
            logger.exception("the event loop did not end cleanly")
        finally:
            if all(task.done() for task in tasks):
                self.loop.close()


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The event loop of this process's asyncio pool; None where no such pool runs."""
    thread = _running
    return thread.loop if thread is not None and thread.pid == os.getpid() else None


def before_stop(function: Callable[[], Awaitable[object]]) -> None:
    """Has a coroutine function run on the pool's loop when its tasks have ended, before it stops.

    The last one registered runs first. For what lives as long as the loop: an app's lifespan,
    connection pools.

    Raises:
        NoLoop: No asyncio pool runs in this process.
    """
    thread = _running
    if thread is None or thread.pid != os.getpid():
        raise NoLoop("no asyncio pool runs in this process")
    thread.goodbyes.append(function)


def on_loop_thread() -> bool:
    """Whether this is the thread of the asyncio pool's event loop."""
    thread = _running
    return thread is not None and threading.current_thread() is thread.thread


def await_(awaitable: Awaitable[T]) -> T:
    """The awaitable's result, awaited on the pool's event loop, for code that has no `await`.

    In a task on the loop it lets the loop run meanwhile; in a thread of the worker it waits. A
    cancellation, a time limit or another exception that ends the waiting cancels the awaitable.

    Raises:
        NoLoop: No asyncio pool runs here, or this is a plain coroutine or callback of the loop.
    """
    if in_bridge():
        return wait_in_bridge(awaitable)
    loop = running_loop()
    if loop is None or on_loop_thread():
        if isinstance(awaitable, Coroutine):
            awaitable.close()
        raise NoLoop(
            "no asyncio pool runs in this process"
            if loop is None
            else "await_ was called in a coroutine of the loop: use await"
        )

    async def waiting() -> T:
        return await awaitable

    future = asyncio.run_coroutine_threadsafe(waiting(), loop)
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


def pause(seconds: float) -> None:
    """Lets time pass: a task on the pool's event loop lets the loop run meanwhile."""
    if in_bridge():
        wait_in_bridge(asyncio.sleep(seconds))
    else:
        time.sleep(seconds)


def _new_loop(*, use_uvloop: bool) -> asyncio.AbstractEventLoop:
    if use_uvloop:
        try:
            import uvloop
        except ImportError:
            logger.info("uvloop is not installed; asyncio's own event loop is used")
        else:
            return uvloop.new_event_loop()
    return asyncio.new_event_loop()


def _task_factory(
    loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any
) -> asyncio.Task[Any]:
    return JobTask(coroutine, loop=loop, **options)
