"""A Celery worker in the test's process: the asyncio pool, over a broker in memory."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from celery import Celery
from celery.result import _set_task_join_will_block  # type: ignore[attr-defined]
from celery.worker import WorkController, state

from respond_async.jobs.worker import JobsWorker

_START_SECONDS: Final = 20.0
_STOP_SECONDS: Final = 20.0
_CONCURRENCY: Final = 20


class _Controller(WorkController):
    """Says when it consumes."""

    def __init__(self, **options: Any) -> None:
        self.consumes = threading.Event()
        super().__init__(**options)

    def on_consumer_ready(self, consumer: Any) -> None:
        del consumer
        self.consumes.set()


def app_in_memory() -> Celery:
    """A Celery application that reaches no further than this process; it knows all jobs."""
    app = Celery(
        "respond_async.testing",
        broker="memory://",
        backend="cache+memory://",
        set_as_current=False,
    )
    app.conf.update(
        task_default_queue="jobs",
        worker_hijack_root_logger=False,
        worker_prefetch_multiplier=1,
        # A queue that nobody polls for a second would make each test last that long.
        broker_transport_options={"polling_interval": 0.01},
    )
    return app


@contextmanager
def running_worker(jobs_worker: JobsWorker, app: Celery) -> Iterator[None]:
    """A worker of the application, and what it does for jobs.

    Raises:
        RuntimeError: It did not start, or does not end.
    """
    app.finalize()
    controller = _Controller(
        app=app, pool="respond_async.pool:AsyncioPool", concurrency=_CONCURRENCY, loglevel="ERROR",
        without_heartbeat=True, without_mingle=True, without_gossip=True,
    )  # fmt: skip
    thread = threading.Thread(target=controller.start, name="respond_async.testing", daemon=True)
    thread.start()
    if not controller.consumes.wait(_START_SECONDS):
        raise RuntimeError("the worker of the tests does not start")
    jobs_worker.start()
    # The test is no task of the worker, though it is in its process: it may wait for results.
    _set_task_join_will_block(False)  # noqa: FBT003 - Celery's own
    try:
        yield
    finally:
        # As a SIGQUIT would: what still runs is cancelled.
        state.should_terminate = 0  # type: ignore[assignment]  # an exit code, says its code
        # It looks at that after a message, or after two seconds.
        app.control.broadcast("ping")
        thread.join(_STOP_SECONDS)
        state.should_terminate = None
        if thread.is_alive():
            raise RuntimeError("the worker of the tests does not end: a job of it holds it")
