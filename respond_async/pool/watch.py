"""How late the event loop is, and who blocks it: seen from another thread."""

import logging
import sys
import time
import traceback
from typing import Final

from respond_async.pool.job import Job
from respond_async.pool.loop import LoopThread
from respond_async.pool.timers import Timers

__all__ = ["LoopWatch"]

logger = logging.getLogger(__name__)

_PROBE_SECONDS: Final = 0.25
_FRAMES: Final = 8


class LoopWatch:
    """Measures how late the event loop is, and says who blocks it.

    Args:
        loop: The loop to watch.
        timers: The thread to watch from.
        blocked_seconds: How long the loop may be silent before that is said; 0 is never.
    """

    def __init__(self, loop: LoopThread, timers: Timers, blocked_seconds: float) -> None:
        self._loop: Final = loop
        self._timers: Final = timers
        self._limit: Final = blocked_seconds
        #: How late the loop was at the last look, and at worst, in seconds.
        self.lag = 0.0
        self.worst_lag = 0.0
        #: How often it was blocked for longer than the limit.
        self.blocked = 0
        self._asked: float | None = None
        self._told = False
        self._stopping = False
        self._look()

    def stop(self) -> None:
        """Looks no more."""
        self._stopping = True

    def _look(self) -> None:
        if self._stopping:
            return
        if self._asked is None:
            self._asked = time.monotonic()
            try:
                self._loop.loop.call_soon_threadsafe(self._answer)
            except RuntimeError:
                return
        else:
            self.lag = time.monotonic() - self._asked
            self.worst_lag = max(self.worst_lag, self.lag)
            if self._limit and self.lag > self._limit and not self._told:
                self._told = True
                self.blocked += 1
                self._tell()
        self._timers.after(_PROBE_SECONDS, self._look)

    def _answer(self) -> None:
        asked, self._asked = self._asked, None
        if asked is None:
            return
        self.lag = time.monotonic() - asked
        self.worst_lag = max(self.worst_lag, self.lag)
        if self._told:
            self._told = False
            logger.warning("the event loop goes on; it was blocked for %.1f s", self.lag)

    def _tell(self) -> None:
        running, job = self._loop.current_job()
        frame = sys._current_frames().get(self._loop.thread.ident or 0)  # noqa: SLF001
        stack = traceback.format_list(traceback.extract_stack(frame)[-_FRAMES:]) if frame else []
        logger.warning(
            "the event loop is blocked for %.1f s by %s: no other task goes on. It is at\n%s",
            self.lag,
            _name(running=running, job=job),
            "".join(stack).rstrip(),
        )


def _name(*, running: bool, job: Job | None) -> str:
    if job is not None:
        return str(job)
    return "an asyncio task of no Celery task" if running else "a callback of the loop"
