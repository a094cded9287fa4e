"""The worker's side of the library: the replay task and the signals around it."""

import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from celery import Celery, signals, states
from celery.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded, WorkerLostError
from celery.worker import state as worker_state

from respond_async.async_tasks import refuse_without_loop
from respond_async.claims import Claims
from respond_async.completion import Completion
from respond_async.ends import Ends
from respond_async.envelope import CapturedRequest
from respond_async.errors import EnvelopeError
from respond_async.heartbeat import install_heartbeat
from respond_async.later import LaterWrites
from respond_async.leases import Leases
from respond_async.lifetime import Lifetime
from respond_async.limits import WorkerLimits
from respond_async.metrics.role import be_worker
from respond_async.overload import EndedCounts
from respond_async.owned import OwnedWrites
from respond_async.publishing import TASK_NAME
from respond_async.replay_task import ReplayTask, replay
from respond_async.replay_thread import ReplayThread
from respond_async.runs import Runs
from respond_async.scripts import Scripts
from respond_async.sealing import Sealer
from respond_async.settings import Settings
from respond_async.tracing import tracing_of

if TYPE_CHECKING:
    from concurrent.futures import Future

    from respond_async.metrics.worker import WorkerMetrics
    from respond_async.replay import ReplayApp
    from respond_async.tracing.spans import Tracing

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
        scripts = Scripts(settings)
        self.claims = Claims(settings, "body", lambda: scripts.connection)
        self.runs = Runs(settings, scripts, Leases(scripts))
        self._later = LaterWrites(scripts.connection)
        self._owned = OwnedWrites(settings, self._later)
        self._limits = WorkerLimits(settings, self._later)
        self._ended = EndedCounts(settings, self._later)
        #: None: no spans.
        self.tracing = tracing_of(settings, lambda: celery)
        self.completion = Completion(self.runs, self.claims, self._left, self.tracing)
        self.metrics = _metrics(settings, celery)
        self.ends = Ends(settings.kafka_topic, self.metrics)
        self._celery = celery

    def install(self) -> None:
        """Registers the task and connects Celery's signals."""
        install_heartbeat(self._celery, self.settings)
        self._celery.task(base=ReplayTask, bind=True, name=TASK_NAME, worker=self)(replay)
        connect = partial(_connect, owner=self)
        connect(signals.worker_init, self._consume_our_queue)
        connect(signals.worker_init, self._keep_storing_results)
        connect(signals.celeryd_after_setup, self._refuse_async_tasks)
        connect(signals.worker_ready, self._start_app_in_threads)
        if self.tracing is not None:
            from respond_async.tracing.deliveries import trace_deliveries

            trace_deliveries(self._celery, self.tracing)
        if self.metrics is not None:
            connect(signals.worker_init, self._be_worker)
            connect(signals.worker_ready, self._start_metrics)
        connect(signals.worker_process_init, self._start_app)
        connect(signals.worker_process_shutdown, self._stop_app)
        connect(signals.worker_shutdown, self._stop_app)
        connect(signals.task_success, self._on_success)
        connect(signals.task_failure, self._on_failure)
        connect(signals.task_postrun, self._on_left)
        if self.settings.worker_lifetime_seconds > 0:
            lifetime = Lifetime(
                self.settings.worker_lifetime_seconds, self.settings.worker_lifetime_jitter_seconds
            )
            connect(signals.worker_ready, lifetime.start)
            connect(signals.worker_shutdown, lifetime.stop)

    def opened(self, task_id: str, sealed: object) -> tuple[CapturedRequest, bytes]:
        """The request that a task is to replay, and its body if that travelled with it.

        Raises:
            EnvelopeError: It is not one of ours, or another task's.
        """
        captured, body = CapturedRequest.opened(sealed, self.request_sealer)
        if captured.task_id != task_id:
            raise EnvelopeError("the request was captured for another task")
        return captured, body

    def tracing_of(self, captured: CapturedRequest) -> "Tracing | None":
        """What makes the spans of the delivery that runs here; None: it has none."""
        if self.tracing is None or self.tracing.has_nothing(captured.trace):
            return None
        return self.tracing

    def began(self, captured: CapturedRequest, running: Any, delivery: int, retries: int) -> None:
        """A request begins to run here; see `Ends.began`."""
        self._owned.add(captured)
        self.ends.began(running, captured, delivery, retries)

    def failed_before(self, captured: CapturedRequest) -> None:
        """An earlier delivery has failed, and its owner may not have been told."""
        if self.completion.notify(captured, answered=False):
            self.ends.failed(None, captured, "error")

    def _left(self, captured: CapturedRequest) -> None:
        self._limits.ended(captured)
        self._ended.ended(captured.queue or self.settings.kafka_topic)

    def notify_if_ended(self, task_id: str, kwargs: Any) -> None:
        """Tells the owner if the task's result is stored; at once returned, done in a thread.

        Args:
            task_id: The task.
            kwargs: Its arguments.
        """

        def ended() -> tuple[CapturedRequest, bool] | None:
            status = self._celery.backend.get_task_meta(task_id, cache=False)["status"]
            if status not in states.READY_STATES:
                return None
            return self._captured(task_id, kwargs), status == states.SUCCESS

        def told(captured: CapturedRequest) -> None:
            self.ends.failed(None, captured, "lost")

        self.completion.notify_soon(task_id, ended, told)

    def notify_revoked(self, task_id: str, kwargs: Any) -> None:
        """Tells the owner that the task was revoked; as `notify_if_ended`."""

        def told(captured: CapturedRequest) -> None:
            self.ends.failed(None, captured, "revoked")

        self.completion.notify_soon(task_id, lambda: (self._captured(task_id, kwargs), False), told)

    def _captured(self, task_id: str, kwargs: Any) -> CapturedRequest:
        sealed = kwargs.get("request") if isinstance(kwargs, dict) else None
        return self.opened(task_id, sealed)[0]

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

    def _refuse_async_tasks(self, instance: Any, **_: Any) -> None:
        if instance.app is self._celery:
            refuse_without_loop(self._celery, instance.pool_cls)

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

    def _be_worker(self, **_: Any) -> None:
        # Before the pool forks.
        be_worker()

    def _start_metrics(self, sender: Any, **_: Any) -> None:
        if self.metrics is not None and sender.app is self._celery:
            self.metrics.start(sender.pool)

    def _start_app(self, **_: Any) -> None:
        self.app.start()

    def _stop_app(self, **_: Any) -> None:
        self.app.stop()
        self._later.close()
        if self.metrics is not None:
            self.metrics.stop()

    def _on_success(self, sender: Any, result: Any = None, **_: Any) -> None:
        if self._is_ours(sender):
            running = sender.request
            captured, tracing = running.captured, running.tracing
            if tracing is not None:
                tracing.stored(running.returned_at)
            if self.completion.notify(captured, answered=True, traced=tracing is not None):
                self.ends.answered(running, captured, getattr(result, "status", 0))

    def _on_failure(
        self,
        sender: Any,
        task_id: str | None = None,
        kwargs: Any = None,
        exception: BaseException | None = None,
        **_: Any,
    ) -> None:
        if not self._is_ours(sender):
            return
        captured = getattr(sender.request, "captured", None)
        if captured is None:
            # The worker's main process speaks for one that was lost; or it is no request of ours.
            try:
                captured = self._captured(str(task_id), kwargs)
            except EnvelopeError:
                return
        if self.completion.notify(captured, answered=False):
            expected = isinstance(exception, sender.throws)
            self.ends.failed(
                sender.request, captured, _reason(exception), None if expected else exception
            )

    def _on_left(self, sender: Any, task_id: str, **_: Any) -> None:
        # After the result is stored: Celery's tracer sends this last.
        if self._is_ours(sender):
            self.runs.leave(task_id)

    def _is_ours(self, task: Any) -> bool:
        return isinstance(task, ReplayTask) and task.worker is self


def _metrics(settings: Settings, celery: Celery) -> "WorkerMetrics | None":
    if not settings.metrics_on:
        return None
    from respond_async.metrics.worker import WorkerMetrics

    return WorkerMetrics(settings, celery)


def _reason(error: BaseException | None) -> str:
    if isinstance(error, WorkerLostError):
        return "lost"
    return "timeout" if isinstance(error, TimeLimitExceeded | SoftTimeLimitExceeded) else "error"


def _connect(signal: Any, receiver: Any, owner: object) -> None:
    # Celery keeps receivers by weak reference otherwise, and a bound method has nobody else.
    uid = f"respond_async.{id(owner)}.{receiver.__qualname__}"
    signal.connect(receiver, weak=False, dispatch_uid=uid)
