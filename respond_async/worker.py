"""The worker's side of the library: the replay task and the signals around it."""

import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from celery import Celery, signals, states
from celery.worker import state as worker_state

from respond_async.accepted import WorkerRecords
from respond_async.celery_face import TASK_NAME
from respond_async.claims import WorkerClaims
from respond_async.completion import Completion
from respond_async.connections import worker_redis
from respond_async.leases import Leases
from respond_async.lifetime import Lifetime
from respond_async.pool import in_thread
from respond_async.replay_thread import ReplayThread
from respond_async.sealing import Sealer
from respond_async.settings import Settings
from respond_async.task import ReplayTask, replay

if TYPE_CHECKING:
    from concurrent.futures import Future

    from respond_async.replay import ReplayApp

logger = logging.getLogger(__name__)


class Worker:
    """What the replay task of one Celery application works with.

    Nothing here opens a connection or starts a thread before it is used, so a prefork worker's
    processes each have their own.
    """

    def __init__(self, celery: Celery, app: str, settings: Settings) -> None:
        self.settings = settings
        self.app = ReplayThread(app, settings)
        self.request_sealer = Sealer(settings, "request")
        self.answer_sealer = Sealer(settings, "answer")
        connection = worker_redis(settings)
        self.records = WorkerRecords(settings, connection)
        self.claims = WorkerClaims(settings, connection)
        self.leases = Leases(connection)
        self.completion = Completion(connection, self.records, self.claims)
        self._celery = celery

    def install(self) -> None:
        """Registers the task and connects Celery's signals."""
        self._celery.task(base=ReplayTask, bind=True, name=TASK_NAME, worker=self)(replay)
        connect = partial(_connect, owner=self)
        connect(signals.worker_init, self._consume_our_queue)
        connect(signals.worker_init, self._keep_storing_results)
        connect(signals.worker_ready, self._start_app_in_threads)
        connect(signals.worker_process_init, self._start_app)
        connect(signals.worker_process_shutdown, self._stop_app)
        connect(signals.worker_shutdown, self._stop_app)
        connect(signals.task_success, self._on_end)
        connect(signals.task_failure, self._on_end)
        connect(signals.task_revoked, self._on_revoked)
        connect(signals.task_postrun, self._on_left)
        if self.settings.worker_lifetime_seconds > 0:
            lifetime = Lifetime(
                self.settings.worker_lifetime_seconds, self.settings.worker_lifetime_jitter_seconds
            )
            connect(signals.worker_ready, lifetime.start)
            connect(signals.worker_shutdown, lifetime.stop)

    def notify_if_ended(self, task_id: str) -> None:
        """Tells the owner if the task's result is stored; at once returned, done in a thread."""
        self.completion.notify_soon(task_id, lambda: self._has_ended(task_id))

    def _has_ended(self, task_id: str) -> bool:
        meta = self._celery.backend.get_task_meta(task_id, cache=False)
        return meta["status"] in states.READY_STATES

    def _consume_our_queue(self, sender: Any, **_: Any) -> None:
        """Lets the worker consume our queue beside its own, unless -Q names what it consumes."""
        if sender.app is not self._celery:
            return
        queues: Any = self._celery.amqp.queues
        # Celery has no public way to ask whether -Q was given.
        if getattr(queues, "_consume_from", None) is None:
            queues.select_add(queues[self.settings.kafka_topic])

    def _keep_storing_results(self, sender: Any, **_: Any) -> None:
        """Lets Celery try until the result is stored.

        Otherwise it drops the result of an endpoint that ran while Redis was away: it retries the
        writing of a result, but not the reading before that.
        """
        if sender.app is self._celery:
            self._celery.conf.result_backend_always_retry = True

    def _start_app_in_threads(self, sender: Any, **_: Any) -> None:
        """Starts the app early where tasks run in this process, not in forks of it."""
        if sender.app is not self._celery or "prefork" in type(sender.pool).__module__:
            return
        self.app.start().add_done_callback(self._end_worker_without_app)

    @staticmethod
    def _end_worker_without_app(app: "Future[ReplayApp]") -> None:
        if app.exception() is not None:
            logger.critical("%s: the worker ends", app.exception())
            # What Celery's handler of SIGTERM sets, here with an exit code. What has been taken
            # from the queue meanwhile goes back to it.
            state: Any = worker_state
            state.should_stop = 1

    def _start_app(self, **_: Any) -> None:
        self.app.start()

    def _stop_app(self, **_: Any) -> None:
        self.app.stop()

    def _on_end(self, sender: Any, **kwargs: Any) -> None:
        if self._is_ours(sender):
            task_id = str(kwargs.get("task_id") or sender.request.id)
            # Not there where the worker's main process speaks for a process that was lost.
            captured = getattr(sender.request, "captured", None)
            in_thread(self.completion.notify, task_id, captured)

    def _on_left(self, sender: Any, task_id: str, **_: Any) -> None:
        # After the result is stored: Celery's tracer sends this last.
        if self._is_ours(sender):
            in_thread(self.leases.give_back, task_id)

    def _on_revoked(self, sender: Any, request: Any, **_: Any) -> None:
        if self._is_ours(sender):
            self.completion.notify_soon(str(request.id))

    def _is_ours(self, task: Any) -> bool:
        return isinstance(task, ReplayTask) and task.worker is self


def _connect(signal: Any, receiver: Any, owner: object) -> None:
    # Celery keeps receivers by weak reference otherwise, and a bound method has nobody else.
    uid = f"respond_async.{id(owner)}.{receiver.__qualname__}"
    signal.connect(receiver, weak=False, dispatch_uid=uid)
