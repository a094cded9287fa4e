"""The pool's own settings, read from the Celery application's configuration."""

from dataclasses import dataclass, fields
from typing import Any, Final

from celery import Celery

from respond_async.pool.errors import PoolError

__all__ = ["PREFIX", "Options"]

#: What each field's name is preceded by in Celery's configuration.
PREFIX: Final = "worker_asyncio_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """`worker_asyncio_<field>` in Celery's configuration."""

    #: Threads for tasks that are plain functions.
    threads: int = 32
    #: How long a task that was cancelled may take to end before its slot is given to another.
    grace_seconds: float = 5.0
    #: How long a warm shutdown waits for running tasks before it cancels them and leaves them to
    #: the broker; 0 is for ever.
    shutdown_seconds: float = 300.0
    #: How long the event loop may be blocked before the task that blocks it is named; 0 is never.
    blocked_seconds: float = 1.0
    #: Whether to use uvloop where it is installed.
    uvloop: bool = True
    #: Objects made before Python looks for unreachable cycles among them, its own default being
    #: 700: with hundreds of tasks in flight most of what it finds there is in use. 0 leaves Python's
    #: settings alone.
    gc_threshold: int = 20_000

    @classmethod
    def of(cls, app: Celery | None) -> "Options":
        """What the application's configuration says.

        Raises:
            PoolError: A value is not of its kind.
        """
        given: dict[str, Any] = {}
        for field in fields(cls):
            value = None if app is None else app.conf.get(PREFIX + field.name)
            if value is not None:
                given[field.name] = _checked(field.name, value, type(field.default))
        return cls(**given)


def _checked(name: str, value: Any, kind: Any) -> Any:
    if kind is bool:
        if isinstance(value, bool):
            return value
    elif isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
        number = kind(value)
        if number or name != "threads":
            return number
    raise PoolError(f"{PREFIX}{name} is {value!r}: it must be {_KINDS[kind]}")


_KINDS: Final = {bool: "True or False", int: "a number above 0", float: "seconds, 0 or more"}
