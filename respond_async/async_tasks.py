"""What `async def` tasks do in a pool without an event loop: fail, and say why."""

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any

from celery import Celery

from respond_async.errors import ConfigurationError
from respond_async.pool import AsyncioPool, is_async

logger = logging.getLogger(__name__)


def refuse_without_loop(celery: Celery, pool: type) -> None:
    """Has each `async def` task fail with a message, unless the pool is an `AsyncioPool`.

    Celery's own pools would store the coroutine, never awaited, as the task's result.

    Args:
        celery: The application whose tasks they are; before their tracers are built.
        pool: The class of the worker's pool.
    """
    if issubclass(pool, AsyncioPool):
        return
    for name, task in celery.tasks.items():
        if is_async(task.run):
            message = (
                f"{name} is async def and {pool.__module__}:{pool.__name__} awaits nothing: set"
                ' worker_pool = "respond_async.pool:AsyncioPool"'
            )
            logger.error(message)
            task.run = _refusing(task.run, message)  # type: ignore[method-assign]


def _refusing(function: Callable[..., Any], message: str) -> Callable[..., Any]:
    # What it wraps is async still, for whoever looks; the wrapper is not.
    @wraps(function)
    def run(*_: Any, **__: Any) -> Any:
        raise ConfigurationError(message)

    return run
