"""Threads for tasks that are plain functions, and for what blocks."""

import contextvars
import logging
import queue
import threading
from collections.abc import Callable
from typing import Final

from respond_async.pool.job import Job

__all__ = ["JobThreads"]

logger = logging.getLogger(__name__)


class JobThreads:
    """A bounded number of threads that run jobs, begun as they are needed.

    A thread cannot be cancelled; one whose job was given up is replaced, and ends when its job does.

    Args:
        limit: How many threads may run jobs at once.
        began: Called in the thread as a job begins.
        finished: Called in the thread with each job that ended.
    """

    def __init__(
        self, limit: int, began: Callable[[Job], None], finished: Callable[[Job], None]
    ) -> None:
        self.limit: Final = limit
        self._began: Final = began
        self._finished: Final = finished
        self._jobs: Final[queue.SimpleQueue[Job | None]] = queue.SimpleQueue()
        self._lock: Final = threading.Lock()
        self._idle = 0
        self._count = 0
        self._made = 0
        self._stopping = False

    @property
    def count(self) -> int:
        """How many threads there are, without those that were given up."""
        return self._count

    def submit(self, job: Job) -> None:
        """Runs a job in a thread, as soon as one is free."""
        with self._lock:
            if self._idle:
                self._idle -= 1
            elif self._count < self.limit:
                self._count += 1
                self._start()
        self._jobs.put(job)

    def replace(self) -> None:
        """Another thread in place of one whose job was given up."""
        with self._lock:
            self._start()

    def stop(self) -> None:
        """Ends the threads that have nothing to do; the others end after their job."""
        with self._lock:
            self._stopping = True
            for _ in range(self._count):
                self._jobs.put(None)

    def _start(self) -> None:
        self._made += 1
        # Daemons: a task that hangs must not keep the worker from ending.
        threading.Thread(
            target=self._serve, name=f"respond_async.pool.task-{self._made}", daemon=True
        ).start()

    def _serve(self) -> None:
        while True:
            job = self._jobs.get()
            if job is None:
                return
            self._run(job)
            if job.given_up:
                return
            with self._lock:
                if self._jobs.empty():
                    self._idle += 1

    def _run(self, job: Job) -> None:
        self._began(job)
        # Each task has its own context variables.
        if not job.killed:
            contextvars.Context().run(job.run)
        self._finished(job)
