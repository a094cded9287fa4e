"""The `task` decorator: registers a function as a job, and as a Celery task."""

import functools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, ParamSpec, TypeVar, overload

from celery import shared_task
from fastapi.params import Depends

from respond_async.errors import ConfigurationError
from respond_async.jobs.arguments import Arguments
from respond_async.pool import is_async

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryOn:
    """What is tried again when it raises; `@task(retry=[RetryOn(exceptions=(TimeoutError,))])`."""

    #: These and their subclasses.
    exceptions: tuple[type[Exception], ...]
    #: How often it is tried in all.
    attempts: int = 3
    #: Seconds before the second attempt.
    delay: float = 1.0
    #: By what the delay grows each time.
    factor: float = 2.0
    #: The longest delay, in seconds.
    longest: float = 300.0

    def seconds(self, attempts: int) -> float:
        """How long to wait after so many attempts; a tenth of it at random."""
        seconds = min(self.delay * self.factor ** (attempts - 1), self.longest)
        return seconds * random.uniform(0.9, 1.1)  # noqa: S311 - spreads, keeps no secret


@dataclass(frozen=True, kw_only=True, slots=True)
class Definition:
    """A registered function."""

    name: str
    function: Callable[..., Any]
    arguments: Arguments
    is_async: bool
    timeout: float | None
    priority: int | None
    queue: str | None
    idempotent: bool
    retry: tuple[RetryOn, ...]
    dependencies: tuple[Depends, ...]
    on_end: Callable[[Any], Any] | None
    max_concurrent: int | None
    public: bool

    def retry_after(self, error: BaseException, attempts: int) -> float | None:
        """Seconds until it is tried again; None: it is not."""
        for policy in self.retry:
            if isinstance(error, policy.exceptions):
                return policy.seconds(attempts) if attempts < policy.attempts else None
        return None


#: What is registered in this process, by name.
DEFINITIONS: Final[dict[str, Definition]] = {}


class JobFunction(Generic[P, R]):
    """A function that is a job: called it is the function, and it has a Celery task's methods.

    `delay`, `apply_async`, `s`, `si` and the rest are those of the Celery task of the same name.
    """

    def __init__(self, definition: Definition, celery_task: Any) -> None:
        functools.update_wrapper(self, definition.function)
        self.definition: Final = definition
        self.celery_task: Final = celery_task

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Calls the function itself, here and now."""
        result: R = self.definition.function(*args, **kwargs)
        return result

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.celery_task, name)


@overload
def task(function: Callable[P, R], /) -> JobFunction[P, R]: ...
@overload
def task(
    *,
    name: str | None = None,
    timeout: float | None = None,
    priority: int | None = None,
    queue: str | None = None,
    idempotent: bool = True,
    retry: Sequence[RetryOn] = (),
    dependencies: Sequence[Any] = (),
    on_end: Callable[[Any], Any] | None = None,
    max_concurrent: int | None = None,
    public: bool = False,
) -> Callable[[Callable[P, R]], JobFunction[P, R]]: ...
def task(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    timeout: float | None = None,
    priority: int | None = None,
    queue: str | None = None,
    idempotent: bool = True,
    retry: Sequence[RetryOn] = (),
    dependencies: Sequence[Any] = (),
    on_end: Callable[[Any], Any] | None = None,
    max_concurrent: int | None = None,
    public: bool = False,
) -> Any:
    """Registers a function as a job.

    Args:
        function: Sync or async; its parameters have names and annotations. What they say with
            `Depends` is resolved in the worker.
        name: Default: its module and name. Workers find it by that.
        timeout: Seconds a run may take; default: the configuration's.
        priority: As the broker takes it.
        queue: Default: Celery's own.
        idempotent: Whether a run that was lost may be repeated.
        retry: When it is tried again; the first that fits counts.
        dependencies: More of FastAPI's `Depends`, for their effect alone.
        on_end: Sync or async; called in a worker with the `Job` once it has ended, however it did, and
            again if that raised or its worker died.
        max_concurrent: How many of it run at once, in all workers together.
        public: Whether callers of `/api/v1/tasks/` may create it by its name.

    Raises:
        ConfigurationError: It cannot be a job; the message says how to mend that.
    """
    rest = {
        "timeout": timeout,
        "priority": priority,
        "queue": queue,
        "idempotent": idempotent,
        "retry": tuple(retry),
        "dependencies": tuple(dependencies),
        "on_end": on_end,
        "max_concurrent": max_concurrent,
        "public": public,
    }
    if function is None:
        return lambda given: _registered(given, name, **rest)
    return _registered(function, name, **rest)


def definition_of(given: object) -> Definition:
    """The definition of what a caller names: a decorated function, or a registered name.

    Raises:
        ConfigurationError: It is not registered.
    """
    if isinstance(given, JobFunction):
        return given.definition
    found = DEFINITIONS.get(given) if isinstance(given, str) else None
    if found is None:
        shown = getattr(given, "__qualname__", given)
        raise ConfigurationError(
            f"{shown} is no registered job: put @task over the function, in a module that the app"
            " and its workers import"
        )
    return found


def _registered(function: Callable[..., Any], name: str | None, **rest: Any) -> Any:
    name = name or f"{function.__module__}.{function.__qualname__}"
    if "<" in name or name.startswith("__main__."):
        raise ConfigurationError(
            f"{name} cannot be imported by a worker: define it at the top of a module, or give it"
            ' a name that the worker registers too, @task(name="...")'
        )
    if rest["retry"] and not rest["idempotent"]:
        raise ConfigurationError(f"{name}: idempotent=False and retry exclude each other")
    known = DEFINITIONS.get(name)
    if known is not None and known.function.__qualname__ != function.__qualname__:
        raise ConfigurationError(f"{name} is registered already, for {known.function}")
    definition = Definition(
        name=name,
        function=function,
        arguments=Arguments(function, name),
        is_async=is_async(function),
        **rest,
    )
    DEFINITIONS[name] = definition
    from respond_async.jobs.celery_task import JobTask, run_job

    options = {
        k: v
        for k, v in {"queue": rest["queue"], "priority": rest["priority"]}.items()
        if v is not None
    }
    registered: Any = shared_task
    celery_task = registered(name=name, base=JobTask, bind=True, definition=definition, **options)(
        run_job
    )
    return JobFunction(definition, celery_task)
