"""Tasks' own functions, wrapped so that Celery's tracer can call an async one.

The tracer calls `task.run`. Within a job of this pool the wrapper awaits what an `async def` gives,
keeps what is no `Exception` from ending the process, and lets no result of a killed task through.
Anywhere else it is the function itself.
"""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, Final

from celery import Celery
from celery._state import _task_stack  # type: ignore[attr-defined]
from celery.app.trace import build_tracer
from celery.utils import threads
from greenlet import getcurrent

from respond_async.pool.bridge import in_bridge, wait_in_bridge
from respond_async.pool.errors import PoolError
from respond_async.pool.job import JOB

__all__ = ["Bodies", "is_async"]

_MARK: Final = "__respond_async_pool__"


class Bodies:
    """The wrapped tasks of one application.

    Args:
        app: The application whose tasks the pool runs.

    Raises:
        PoolError: USE_FAST_LOCALS is set, with which tasks of one thread take each other's request.
    """

    def __init__(self, app: Celery) -> None:
        if getattr(threads, "USE_FAST_LOCALS", None):
            raise PoolError("unset USE_FAST_LOCALS: the asyncio pool runs many tasks in one thread")
        self._app: Final[Any] = app
        self._on_loop: Final[dict[str, bool]] = {}
        _by_job(_task_stack)

    def wrap_all(self) -> None:
        """Wraps every task there is; before Celery builds their tracers."""
        for name in list(self._app.tasks):
            self.runs_on_loop(name)

    def runs_on_loop(self, name: str | None) -> bool:
        """Whether a task is for the event loop: async, or a function that says `on_loop`."""
        if name is None:
            return False
        known = self._on_loop.get(name)
        if known is None:
            task = self._app.tasks.get(name)
            if task is None:
                return False
            known = self._on_loop[name] = is_async(task.run) or bool(
                getattr(task, "on_loop", False)
            )
            self._wrap(task)
        return known

    def _wrap(self, task: Any) -> None:
        _by_job(task.request_stack)
        # Where Celery put its autoretry around the function, that calls `_orig_run`.
        attribute = "_orig_run" if hasattr(task, "_orig_run") else "run"
        function = getattr(task, attribute)
        if hasattr(function, _MARK):
            return
        setattr(task, attribute, _wrapped(task, function))
        if task.__trace__ is not None:
            # It was registered late, and has a tracer that knows the bare function.
            task.__trace__ = build_tracer(task.name, task, self._app.loader, app=self._app)


def is_async(function: Callable[..., Any]) -> bool:
    """Whether it is an `async def`, under whatever wraps it."""
    while True:
        if inspect.iscoroutinefunction(function):
            return True
        if not hasattr(function, "__wrapped__"):
            return False
        function = function.__wrapped__


def _wrapped(task: Any, function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        job = JOB.get(None)
        if job is not None and job.name == task.name and not job.entered:
            job.entered = True
            return job.body(function, args, kwargs)
        result = function(*args, **kwargs)
        if task.request.is_eager and inspect.iscoroutine(result) and in_bridge():
            return wait_in_bridge(result)
        return result

    setattr(run, _MARK, True)
    return run


def _by_job(stack: Any) -> None:
    """Has a stack of Celery's keyed by the job rather than by the greenlet.

    So `self.request` is there in what a task starts, too: asyncio's child tasks, and threads.
    """
    if not isinstance(stack._local, _Stacks):  # noqa: SLF001
        stack._local = _Stacks()  # noqa: SLF001


class _Stacks:
    """What a stack of Celery's keeps its lists in: a list for each job, else for each greenlet.

    Celery's own has a namespace for each, with the list in it: 200 bytes more of each that waits,
    and twice the time to look.
    """

    __slots__ = ("_stacks",)

    def __init__(self) -> None:
        self._stacks: Final[dict[object, list[Any]]] = {}

    @property
    def stack(self) -> list[Any]:
        try:
            return self._stacks[_ident()]
        except KeyError:
            raise AttributeError("stack") from None

    @stack.setter
    def stack(self, stack: list[Any]) -> None:
        self._stacks[_ident()] = stack

    def __release_local__(self) -> None:
        self._stacks.pop(_ident(), None)


def _ident() -> object:
    job = JOB.get(None)
    return getcurrent() if job is None else job
