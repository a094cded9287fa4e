"""Jobs that run in the test's process, each in a thread; the rest is as in a worker.

The same scripts begin and end them in a real Redis, the same code runs them: a status is never said
that a worker would not have said.
"""

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Any, Final

import pytest

from respond_async.jobs import celery_task
from respond_async.jobs.execution import Execution
from respond_async.jobs.record import Job
from respond_async.jobs.runtime import Jobs
from respond_async.jobs.testing.clock import Clock, ClockLoop
from respond_async.jobs.testing.post import Message
from respond_async.jobs.worker import JobsWorker

if TYPE_CHECKING:
    from respond_async.jobs.reporting import Report

#: With a clock that stands still a job may wait for what never comes.
_PATIENCE_SECONDS: Final = 10.0
# Who sleeps so long, by real time, has done what it does at this time of the test's clock.
_STILL_SECONDS: Final = 0.02
_TICK_SECONDS: Final = 0.002
_STOP_SECONDS: Final = 5.0


class _Run:
    def __init__(self) -> None:
        self.ended = threading.Event()
        self.report: Report | None = None


class Eager:
    """Runs what the post delivers.

    Args:
        worker: What the jobs work with.
        clock: The test's, if it has one.
        patch: Undoes it.
    """

    def __init__(self, worker: JobsWorker, clock: Clock | None, patch: pytest.MonkeyPatch) -> None:
        self._worker: Final = worker
        self._clock: Final = clock
        self._runs: dict[str, _Run] = {}
        self._lock: Final = threading.Lock()
        #: All jobs share a loop, as in the asyncio pool.
        self.loop: Final = ClockLoop(clock) if clock else asyncio.new_event_loop()
        self._thread: Final = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self._here: Final = threading.local()
        patch.setattr(celery_task, "run_without_loop", self._run_on_loop)
        for name in ("create", "retry", "cancel"):
            self._wait_in(name, patch)

    def deliver(self, message: Message) -> None:
        """Runs a job's message, in a thread."""
        run = _Run()
        with self._lock:
            self._runs[message.task_id] = run
        threading.Thread(target=self._work, args=(message, run), daemon=True).start()

    @property
    def busy(self) -> bool:
        """Whether a job is neither at its end nor asleep."""
        return any(not self._sleeps(run) for run in list(self._runs.values()))

    def due(self) -> list[int]:
        """The microseconds at which time is up for something on the loop."""
        return self.loop.due() if isinstance(self.loop, ClockLoop) else []

    def settle(self) -> None:
        """Waits until each job has ended, or waits for time to pass itself."""
        if self._clock is not None:
            # What is due on the loop was begun.
            asyncio.run_coroutine_threadsafe(asyncio.sleep(0), self.loop).result()
        for job_id in list(self._runs):
            self._wait(job_id)

    def close(self) -> None:
        """Cancels what still runs."""
        for job_id in list(self._runs):
            self._worker.keeper.cancel(job_id)
        for run in list(self._runs.values()):
            run.ended.wait(_STOP_SECONDS)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    def _work(self, message: Message, run: _Run) -> None:
        self._here.run = run
        try:
            task = message.app.tasks[message.name]
            retries = message.options.get("retries", 0)
            task.apply(message.args, message.kwargs, task_id=message.task_id, retries=retries)
        finally:
            run.ended.set()
            with self._lock:
                if self._runs.get(message.task_id) is run:
                    del self._runs[message.task_id]

    def _run_on_loop(self, execution: Execution) -> Any:
        self._here.run.report = execution.report
        return asyncio.run_coroutine_threadsafe(execution.run(), self.loop).result()

    def _wait_in(self, name: str, patch: pytest.MonkeyPatch) -> None:
        original = getattr(Jobs, name)

        async def waited(jobs: Jobs, *args: Any, **options: Any) -> Job:
            job: Job = await original(jobs, *args, **options)
            await asyncio.to_thread(self._after, job.id, cancelled=name == "cancel")
            return await jobs.get(job.id)

        patch.setattr(Jobs, name, waited)

    def _after(self, job_id: str, *, cancelled: bool) -> None:
        if cancelled:
            self._worker.keeper.cancel(job_id)
        self._wait(job_id)
        self._worker.look_after()

    def _wait(self, job_id: str) -> None:
        run = self._runs.get(job_id)
        if run is None:
            return
        if self._clock is None:
            run.ended.wait()
            return
        deadline, asleep_since = time.monotonic() + _PATIENCE_SECONDS, None
        while not run.ended.wait(_TICK_SECONDS) and time.monotonic() < deadline:
            if not self._sleeps(run):
                asleep_since = None
            elif asleep_since is None:
                asleep_since = time.monotonic()
            elif time.monotonic() - asleep_since > _STILL_SECONDS:
                return

    def _sleeps(self, run: _Run) -> bool:
        return (
            run.report is not None
            and isinstance(self.loop, ClockLoop)
            and self.loop.sleeps(run.report)
        )
