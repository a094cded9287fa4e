"""Ending tasks so that none outlives its owner."""

import asyncio
from collections.abc import Collection
from typing import Any


async def cancel_all(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancels the tasks and returns once they have ended; what they raise is dropped.

    `asyncio.gather` would do, were it not that, cancelled itself, it raises a CancelledError of
    its children's: anyio then does not know its own and lets it out of the cancel scope.
    """
    running = {task for task in tasks if not task.done()}
    for task in running:
        task.cancel()
        task.add_done_callback(_take_exception)
    for task in set(tasks) - running:
        _take_exception(task)
    if running:
        await asyncio.wait(running)


def _take_exception(task: asyncio.Task[Any]) -> None:
    # Otherwise asyncio logs it as one that nobody looked at.
    if not task.cancelled():
        task.exception()
