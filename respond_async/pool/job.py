"""One task that the pool was given, from there to its end."""

import asyncio
import enum
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from billiard.einfo import ExceptionInfo
from celery.exceptions import SoftTimeLimitExceeded, WorkerShutdown, WorkerTerminate

from respond_async.pool.bridge import in_bridge, wait_in_bridge
from respond_async.pool.errors import JobKilled, TaskAborted

if TYPE_CHECKING:
    from respond_async.pool.timers import Timer

__all__ = ["JOB", "Job", "Phase"]

#: The job whose code runs; asyncio tasks and threads that it starts with its context have it too.
JOB: Final[ContextVar["Job | None"]] = ContextVar("respond_async.pool.job", default=None)

_numbers: Final = itertools.count(1)
_ARGS_SHOWN: Final = 200
#: Name, id, request, body, content type and encoding.
_TRACER_ARGS: Final = 6


class Phase(enum.Enum):
    """How far a job has come. Written by the thread that runs it."""

    WAITING = enum.auto()
    TRACING = enum.auto()
    BODY = enum.auto()
    AFTER = enum.auto()
    DONE = enum.auto()


class Job:
    """What Celery gives to a pool: its tracer, and whom to tell.

    Invariants:
        * The callbacks are called by the worker's main thread alone (`Notices`).
        * Once `killed` is true it stays so, and no result of the job counts.
    """

    __slots__ = (
        "__weakref__",
        "_args",
        "_kwargs",
        "_soft",
        "_target",
        "accept_callback",
        "began",
        "callback",
        "entered",
        "error_callback",
        "given_up",
        "hard_seconds",
        "killed",
        "name",
        "number",
        "on_kill",
        "outcome",
        "phase",
        "request",
        "soft_seconds",
        "task",
        "task_id",
        "timeout_callback",
        "timers",
    )

    def __init__(
        self,
        target: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        *,
        callback: Callable[..., Any] | None = None,
        error_callback: Callable[..., Any] | None = None,
        accept_callback: Callable[..., Any] | None = None,
        timeout_callback: Callable[..., Any] | None = None,
        soft_seconds: float | None = None,
        hard_seconds: float | None = None,
    ) -> None:
        #: Unique in this process.
        self.number: Final = next(_numbers)
        self._target: Final = target
        self._args: Final = args
        self._kwargs: Final = kwargs
        #: The task's registered name; the pool's own errands have none.
        self.name: Final[str | None] = args[0] if args and isinstance(args[0], str) else None
        self.task_id: Final[str] = str(args[1]) if self.name and len(args) > 1 else ""
        #: What Celery's message said of the task.
        self.request: Final[Mapping[str, Any]] = (
            args[2] if len(args) > 2 and isinstance(args[2], dict) else {}  # noqa: PLR2004
        )
        self.callback: Final = callback
        self.error_callback: Final = error_callback
        self.accept_callback: Final = accept_callback
        self.timeout_callback: Final = timeout_callback
        self.soft_seconds: Final = soft_seconds
        self.hard_seconds: Final = hard_seconds
        #: What is set to go off for it. Of the main thread.
        self.timers: Final[list[Timer]] = []
        self.phase = Phase.WAITING
        #: Whether the tracer has called the task's function.
        self.entered = False
        #: When it began, by `time.monotonic`.
        self.began: float | None = None
        #: Whether it was cancelled from outside: revoked, over its hard limit, or at shutdown.
        self.killed = False
        #: Whether its slot was given to another because it did not end when it was killed.
        self.given_up = False
        #: The callback that ends this job and what to call it with.
        self.outcome: tuple[Callable[..., Any], Any] | None = None
        #: The asyncio task that runs it, if the loop does.
        self.task: asyncio.Task[Any] | None = None
        #: What `terminate` does; set by the pool.
        self.on_kill: Callable[[Job], None] | None = None
        self._soft: float | None = None

    # What Celery calls on what `apply_async` returned.

    def terminate(self, signal: int | None = None) -> None:  # noqa: ARG002
        """Cancels the job, whatever the signal."""
        if self.on_kill is not None:
            self.on_kill(self)

    # Run by the job's own thread.

    def run(self) -> None:
        """Runs the tracer to its end and notes the outcome. Raises nothing."""
        JOB.set(self)
        self.phase = Phase.TRACING
        try:
            args = self._args
            if len(args) == _TRACER_ARGS and not self._kwargs:
                # With a star it would go through C, and 370 bytes more of the stack would be kept
                # while the task waits.
                result = self._target(args[0], args[1], args[2], args[3], args[4], args[5])
            else:
                result = self._target(*args, **self._kwargs)
        except JobKilled:
            self.killed = True
        except (WorkerShutdown, WorkerTerminate) as error:
            self._fails_with(TaskAborted(f"the task raised {error!r}"), error)
        except Exception as error:  # noqa: BLE001  # a Reject, or a fault of the tracer
            self._fails_with(error)
        except BaseException as error:  # noqa: BLE001  # must not reach the loop
            self._fails_with(TaskAborted(f"the task raised {error!r}"), error)
        else:
            if self.callback is not None:
                self.outcome = self.callback, result
        self.phase = Phase.DONE

    def body(self, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """The task's own function within the tracer; a coroutine is awaited.

        Raises:
            TaskAborted: The function raised what is no `Exception`.
            JobKilled: The job was killed meanwhile; its result does not count.
        """
        self._stop_if_killed()
        self.phase = Phase.BODY
        try:
            result = function(*args, **kwargs)
            if asyncio.iscoroutine(result):
                result = self._awaited(result)
        except Exception:
            self._stop_if_killed()
            raise
        except BaseException as error:
            self._stop_if_killed()
            raise TaskAborted(f"the task raised {error!r}") from error
        finally:
            self.phase = Phase.AFTER
        self._stop_if_killed()
        return result

    def translate(self, error: BaseException) -> BaseException:
        """A cancellation as the task's code is to see it: a soft time limit has its own name."""
        if self._soft is None or self.killed or not isinstance(error, asyncio.CancelledError):
            return error
        limit, self._soft = self._soft, None
        if self.task is not None:
            self.task.uncancel()
        return SoftTimeLimitExceeded(limit)

    # Run on the loop's thread.

    def interrupt(self, limit_seconds: float) -> None:
        """Raises SoftTimeLimitExceeded in the task's coroutine."""
        if self.phase is Phase.BODY and self.task is not None and not self.killed:
            self._soft = limit_seconds
            self.task.cancel()

    def cancel(self) -> None:
        """Raises asyncio.CancelledError in the task's coroutine; what is being stored goes on."""
        if self.task is not None and self.phase in {Phase.WAITING, Phase.BODY}:
            self.task.cancel()

    # For logs.

    def __str__(self) -> str:
        shown = str(self.request.get("argsrepr") or "")[:_ARGS_SHOWN]
        return f"{self.name or 'errand'}[{self.task_id or self.number}]" + (
            f" {shown}" if shown and shown != "()" else ""
        )

    def seconds(self) -> float:
        """How long it has been running."""
        return 0.0 if self.began is None else time.monotonic() - self.began

    @staticmethod
    def _awaited(coroutine: Any) -> Any:
        if in_bridge():
            return wait_in_bridge(coroutine)
        # A function that was not seen to be async, in a thread.
        from respond_async.pool.loop import await_

        return await_(coroutine)

    def _stop_if_killed(self) -> None:
        if self.killed:
            raise JobKilled

    def _fails_with(self, error: Exception, cause: BaseException | None = None) -> None:
        if self.error_callback is None:
            return
        error.__cause__ = cause or error.__cause__
        self.outcome = self.error_callback, ExceptionInfo((type(error), error, error.__traceback__))
