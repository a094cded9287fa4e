"""Ending tasks so that none outlives its owner."""

import asyncio
from collections.abc import Collection
from typing import Any, Final

# Longer than what a task does at its end.
_AGAIN_SECONDS: Final = 1.0


async def cancel_all(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancels the tasks, until they have ended; what they raise is dropped.

    `asyncio.gather` would do, were it not that, cancelled itself, it raises a CancelledError of
    its children's: anyio then does not know its own and lets it out of the cancel scope.
    """
    running = {task for task in tasks if not task.done()}
    for task in running:
        task.add_done_callback(_take_exception)
    for task in set(tasks) - running:
        _take_exception(task)
    while running:
        for task in running:
            task.cancel()
        # Again: up to Python 3.11 `asyncio.wait_for`, which redis-py sends with, loses a cancellation
        # that comes as what it waits for ends (bpo-42130).
        _, running = await asyncio.wait(running, timeout=_AGAIN_SECONDS)


def _take_exception(task: asyncio.Task[Any]) -> None:
    # Otherwise asyncio logs it as one that nobody looked at.
    if not task.cancelled():
        task.exception()
