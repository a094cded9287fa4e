"""How many jobs may run at once, and who comes next."""

from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from respond_async.pool.job import Job

__all__ = ["Slots"]


class Semaphore(Protocol):
    """kombu's `LaxBoundedSemaphore`: Celery asks it before it hands a request to the pool."""

    initial_value: int
    value: int

    def release(self) -> None:
        """Frees one, or lets the one that waited longest in."""


class Slots:
    """Counts the running jobs and holds back what is over the limit.

    With an event loop Celery holds requests back itself, by `semaphore`, so that one that is
    revoked while it waits is not begun; otherwise they wait here. Called by one thread at a time.

    Invariant: the semaphore is free for exactly what is missing up to the limit.

    Args:
        limit: How many jobs may run at once.
        begin: Begins a job.
        semaphore: Celery's, if it has one.
    """

    def __init__(
        self, limit: int, begin: Callable[[Job], None], semaphore: Semaphore | None
    ) -> None:
        self.limit = limit
        self.running: Final[set[Job]] = set()
        self.waiting: Final[deque[Job]] = deque()
        self._begin: Final = begin
        self._semaphore: Final = semaphore
        self._held = False

    def put(self, job: Job) -> None:
        """Begins the job, or has it wait."""
        if len(self.running) < self.limit and not self.waiting and not self._held:
            self.running.add(job)
            self._begin(job)
        else:
            self.waiting.append(job)

    def free(self, job: Job) -> None:
        """The job has ended, or is given up."""
        if job in self.running:
            self.running.discard(job)
            self._fill()

    def resize(self, limit: int) -> None:
        """Another limit; what runs beyond it runs on."""
        self.limit = max(0, limit)
        if self._semaphore is not None:
            self._semaphore.initial_value = self.limit
            self._semaphore.value = min(self._semaphore.value, self._missing())
        self._fill()

    def hold(self) -> None:
        """Begins nothing more until `go_on`; what runs, runs on."""
        self._held = True

    def go_on(self) -> None:
        """Begins what waited meanwhile."""
        self._held = False
        self._fill()

    def clear(self) -> None:
        """Forgets what waits: it was not begun, and stays the broker's."""
        self.waiting.clear()

    def _fill(self) -> None:
        while self.waiting and len(self.running) < self.limit and not self._held:
            job = self.waiting.popleft()
            self.running.add(job)
            self._begin(job)
        if self._semaphore is not None:
            while self._semaphore.value < self._missing():
                self._semaphore.release()

    def _missing(self) -> int:
        return max(0, self.limit - len(self.running) - len(self.waiting))
