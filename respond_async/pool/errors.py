"""What can go wrong around a task, beside what the task itself raises.

Exception
└── PoolError
    ├── NoLoop
    └── TaskAborted
BaseException
└── JobKilled
"""


class PoolError(Exception):
    """Base of this package's errors."""


class NoLoop(PoolError):
    """There is no event loop to await on here.

    `await_` works in a task that the asyncio pool runs. In a coroutine, use `await`.
    """


class TaskAborted(PoolError):
    """A task raised what would end a process, or cancelled itself; it ended this task alone.

    That is SystemExit, KeyboardInterrupt, asyncio.CancelledError or another exception that is no
    `Exception`. The original is its `__cause__`.
    """


class JobKilled(BaseException):
    """Ends the tracer of a task that was cancelled from outside, without a result of its own.

    No `Exception`, so that Celery's tracer stores nothing: whoever killed the task has said already
    what became of it.
    """
