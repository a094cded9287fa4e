"""The jobs of one test: where they are kept, who runs them, and by which clock."""

import asyncio
import logging
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any, Final, TypeVar

import pytest
import redis
from celery import _state

from respond_async.jobs import runtime, worker
from respond_async.jobs.config import TaskConfig
from respond_async.jobs.prelude import PREFIX
from respond_async.jobs.record import Job
from respond_async.jobs.reporting import LogLine
from respond_async.jobs.testing.clock import Clock
from respond_async.jobs.testing.eager import Eager
from respond_async.jobs.testing.post import Message, Post
from respond_async.jobs.testing.worker import app_in_memory, running_worker
from respond_async.jobs.worker import JobsWorker
from respond_async.settings import Settings

T = TypeVar("T")


class JobsOfTest:
    """Makes and reads jobs, for tests that are no coroutines; those call `create_task` and the rest.

    Args:
        settings: Where the test's Redis is.
        config: Of the jobs.
        patch: Undoes at the end what is replaced.
    """

    def __init__(self, settings: Settings, config: TaskConfig, patch: pytest.MonkeyPatch) -> None:
        self._patch: Final = patch
        self._redis: Final = redis.Redis.from_url(settings.redis_url)
        self._redis.flushdb()
        self._app: Final = app_in_memory()
        # `delay`, chains and results go by the current application, in each thread.
        patch.setattr(_state, "default_app", self._app)
        patch.setattr(vars(_state)["_tls"], "current_app", self._app)
        known = runtime._current  # noqa: SLF001 - of the project's app, put back at the end
        ours = known is not None and known.settings.redis_url == settings.redis_url
        if known is not None and ours:
            settings = known.settings
        patch.setattr(runtime, "_current", known)
        patch.setattr(worker, "_current", None)
        #: What the scripts, the loop of eager jobs and delays go by; None: the real one.
        self.clock: Clock | None = None
        self._worker: Final = JobsWorker(self._app, settings, config)
        #: What `create_task` works with.
        self.jobs: Final = known if known is not None and ours else self._worker.jobs
        runtime._current = self.jobs  # noqa: SLF001
        # An app's own: its worker's module is not imported, and its broker not asked.
        patch.setattr(vars(self.jobs)["_celery"], "_given", self._app)
        self._runner: Final = asyncio.Runner()
        self._aside: Final = ThreadPoolExecutor(1)
        # What jobs log is kept from `log_level` on, whatever pytest shows.
        patch.setattr(logging.root, "level", logging.root.level)
        level = logging.getLevelNamesMapping().get(str(config.log_level), config.log_level)
        logging.root.setLevel(min(logging.root.level, int(level)))
        self._eager: Eager | None = None
        self._post: Post | None = None
        self._running: Final = ExitStack()

    def use_clock(self) -> Clock:
        """Has time stand still; before anything else."""
        self.clock = Clock(self._redis, self._patch)
        self.clock.settle = lambda: self._aside.submit(self._settle).result()
        self.clock.due = self._due
        return self.clock

    def run_eagerly(self) -> None:
        """Has jobs run as they are created."""
        self._eager = Eager(self._worker, self.clock, self._patch)
        self._post = Post(self._eager.deliver, self.clock, self._patch)
        self._worker.keep_logs()

    def run_in_worker(self) -> None:
        """Has jobs run by a worker of this process."""
        self._post = Post(self._send_on, self.clock, self._patch)
        self._running.enter_context(running_worker(self._worker, self._app))

    def close(self) -> None:
        """Ends what runs."""
        try:
            if self._post is not None:
                self._post.close()
            if self._eager is not None:
                self._eager.close()
            self._running.close()
        finally:
            self._worker.stop()
            self._aside.shutdown()
            self._runner.run(self.jobs.close())
            self._runner.close()
            self._redis.close()

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        """What a coroutine comes to: `jobs.run(list_tasks(name="import"))`."""
        return self._runner.run(call)

    def create(self, function: object, *args: Any, **options: Any) -> Job:
        """As `create_task`, with `channel` for an owner."""
        return self.run(self.jobs.create(function, *args, **options))

    def get(self, job_id: str) -> Job:
        """The job as it is now."""
        return self.run(self.jobs.get(job_id))

    def cancel(self, job_id: str) -> Job:
        """As `cancel_task`."""
        return self.run(self.jobs.cancel(job_id))

    def wait(self, job_id: str, seconds: float = 10.0) -> Job:
        """The job, ended; real seconds, for jobs that a worker runs."""
        return self.run(self.jobs.wait(job_id, seconds))

    def logs(self, job_id: str) -> list[LogLine]:
        """What it logged."""
        from respond_async.jobs.reading import log_of

        return self.run(log_of(self.jobs, job_id))

    def prune(self) -> None:
        """Forgets what is too old, as workers do every `cleanup_interval`."""
        self._worker.prune()

    def _send_on(self, message: Message) -> None:
        assert self._post is not None
        options = {name: value for name, value in message.options.items() if name != "producer"}
        self._post.original(
            self._app,
            message.name,
            message.args,
            message.kwargs,
            task_id=message.task_id,
            **options,
        )

    def _settle(self) -> None:
        self._worker.keeper.renew()
        assert self._post is not None
        while True:
            self._post.deliver_due()
            if self._eager is not None:
                self._eager.settle()
            self._worker.look_after()
            if self._eager is None or not self._eager.busy:
                break
        self._worker.prune()

    def _due(self) -> list[int]:
        due = [
            *(self._post.due() if self._post else []),
            *(self._eager.due() if self._eager else []),
        ]
        for name, unit in (("unsent", 1000), ("owed", 1000), ("schedules", 1)):
            first: Any = self._redis.zrange(f"{PREFIX}{name}", 0, 0, withscores=True)
            due += [int(score) * unit for _, score in first]
        return due
