"""A worker's lifetime: after it the worker finishes what it runs and ends."""

import logging
import random
from threading import Timer
from typing import Any

from celery.worker import state

logger = logging.getLogger(__name__)


class Lifetime:
    """Ends this worker, and no other, warmly; whatever supervises it starts the next.

    Args:
        seconds: The least time it lives.
        jitter_seconds: Up to this much is added at random, so that workers do not end together.
    """

    def __init__(self, seconds: float, jitter_seconds: float) -> None:
        self._seconds = seconds
        self._jitter = jitter_seconds
        self._timer: Timer | None = None

    def start(self, **_: Any) -> None:
        """Starts the clock; for Celery's signal `worker_ready`."""
        # Jitter needs no secrecy.
        seconds = self._seconds + random.uniform(0, self._jitter)  # noqa: S311
        self._timer = Timer(seconds, self._end, (seconds,))
        self._timer.daemon = True
        self._timer.start()

    def stop(self, **_: Any) -> None:
        """Stops the clock; for Celery's signal `worker_shutdown`."""
        if self._timer is not None:
            self._timer.cancel()

    @staticmethod
    def _end(seconds: float) -> None:
        logger.info("worker lifetime of %.0f s is over: warm shutdown", seconds)
        # What Celery's handler of SIGTERM sets; the worker's loop looks at it at least once a
        # second or so.
        flags: Any = state
        flags.should_stop = 0
