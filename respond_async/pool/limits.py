"""Time limits, cancellation, and what becomes of a job that does not end."""

from typing import TYPE_CHECKING, Final

from respond_async.pool.job import Job, Phase
from respond_async.pool.loop import LoopThread
from respond_async.pool.notices import Notices
from respond_async.pool.timers import Timers

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Limits"]


class Limits:
    """Ends jobs before they end themselves.

    Who knows of it: what a time limit means for the result is Celery's to say, in the main thread
    (`timeout_callback`), even while the event loop is blocked; the job's own code hears of it on
    the loop, as an exception where it awaits.

    Args:
        timers: The thread that looks at the clock.
        notices: The way to the main thread.
        loop: The event loop.
        grace_seconds: How long a cancelled job may take to end.
    """

    def __init__(
        self, timers: Timers, notices: Notices, loop: LoopThread, grace_seconds: float
    ) -> None:
        self._timers: Final = timers
        self._notices: Final = notices
        self._loop: Final = loop
        self._grace: Final = grace_seconds
        #: Called in the main thread with a job whose grace is over.
        self.on_give_up: Callable[[Job], None] = lambda _: None

    def begin(self, job: Job) -> None:
        """Starts the clock for a job; main thread."""
        if job.soft_seconds:
            job.timers.append(self._timers.after(job.soft_seconds, self._soft, job))
        if job.hard_seconds:
            job.timers.append(self._timers.after(job.hard_seconds, self._hard, job))

    def end(self, job: Job) -> None:
        """Stops the clock; main thread."""
        for timer in job.timers:
            self._timers.cancel(timer)
        job.timers.clear()

    def kill(self, job: Job) -> None:
        """Cancels a job: no result of it counts. Main thread, once for each job."""
        if job.killed or job.phase is Phase.DONE:
            return
        job.killed = True
        # No time limit is to be told of any more.
        self.end(job)
        self._loop.mailbox.post(job.cancel)
        job.timers.append(self._timers.after(self._grace, self._notices.post, self._overdue, job))

    def _soft(self, job: Job) -> None:
        # Whether it still runs is asked here: the main thread may come to it after the task's end.
        if job.timeout_callback is not None and job.phase is not Phase.DONE:
            self._notices.post(job.timeout_callback, True, job.soft_seconds)  # noqa: FBT003
        self._loop.mailbox.post(job.interrupt, job.soft_seconds)

    def _hard(self, job: Job) -> None:
        self._notices.post(self._over, job)

    def _over(self, job: Job) -> None:
        if job.killed or job.phase in {Phase.AFTER, Phase.DONE}:
            return
        self.kill(job)
        if job.timeout_callback is not None:
            job.timeout_callback(False, job.hard_seconds)  # noqa: FBT003

    def _overdue(self, job: Job) -> None:
        if job.phase is not Phase.DONE:
            self.on_give_up(job)
