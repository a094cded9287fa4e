"""The Celery task that replays a captured request."""

import logging
import time
from typing import TYPE_CHECKING, Any, Final, NoReturn

import redis
from celery import Task, states
from celery.exceptions import BackendError, Ignore, Reject
from celery.worker.request import Request

from respond_async.answer import Answer, StoredAnswer
from respond_async.envelope import CapturedRequest
from respond_async.errors import AppStartError, RespondAsyncError, StoreUnavailableError
from respond_async.pool import in_thread, pause
from respond_async.publishing import shown_request
from respond_async.runs import Begun

if TYPE_CHECKING:
    from respond_async.tracing.spans import Tracing
    from respond_async.worker import Worker

logger = logging.getLogger(__name__)

_REDELIVER_PAUSE_SECONDS: Final = 1.0
_LEASE_PAUSE_SECONDS: Final = 0.5


class ReplayRequest(Request):
    """Celery's record of one delivery, in the worker's main process.

    The message is at hand here, and with it whom to tell; Celery's signals do not carry it.
    """

    def on_failure(self, exc_info: Any, *args: Any, **kwargs: Any) -> Any:
        """Does what Celery does, then sees whether the task ended by that.

        A process that is killed after it stored the result and before it told the owner leaves no
        signal behind in Celery: its main process only acknowledges.
        """
        try:
            return super().on_failure(exc_info, *args, **kwargs)
        finally:
            self._worker.notify_if_ended(self.id, self.kwargs)

    def _announce_revoked(self, *args: Any, **kwargs: Any) -> None:
        super()._announce_revoked(*args, **kwargs)  # type: ignore[misc]
        self._worker.notify_revoked(self.id, self.kwargs)

    @property
    def _worker(self) -> "Worker":
        task: Any = self.task
        worker: Worker = task.worker
        return worker


class ReplayTask(Task[Any, Any]):
    """Base of the replay task; `worker` is set by `AsyncRequests.worker`."""

    #: Celery's way to name a request class for a task.
    Request = "respond_async.replay_task:ReplayRequest"
    acks_late = True
    reject_on_worker_lost = True
    ignore_result = False
    serializer = "json"
    #: In the asyncio pool it runs on the event loop: what waits there is awaited, and what blocks
    #: goes through `in_thread`. Other pools run it as any function.
    on_loop = True
    #: What is expected to go wrong is logged as one line.
    throws = (RespondAsyncError,)
    abstract = True

    worker: "Worker"


def replay(task: ReplayTask, request: object) -> StoredAnswer:
    """Replays one captured request and returns its answer, sealed.

    Runs the endpoint at most once for each delivery, never beside another delivery's run, and not
    at all if an earlier delivery stored its result, or if the client was told 503.

    Args:
        task: The running task.
        request: The sealed request.

    Raises:
        EnvelopeError: It is not one of ours, or another task's.
        BodyLostError: Its body is no longer in Redis.
        Reject: It is to be delivered again: Redis or the app is not there.
        Ignore: There is nothing to do.
    """
    # Looked up once: Celery finds it anew each time.
    running: Any = task.request
    task_id = str(running.id)
    captured, body = task.worker.opened(task_id, request)
    # For what follows, the signal at the end too.
    running.captured, running.tracing = captured, task.worker.tracing_of(captured)
    try:
        result = _result(task, running, captured, body)
    except (redis.RedisError, BackendError, AppStartError, StoreUnavailableError) as error:
        # Not a failure of the request: it goes back, and comes again when things are better.
        logger.warning("%s [%s] is delivered again: %s", captured, task_id, error)
        pause(_REDELIVER_PAUSE_SECONDS)
        raise Reject(str(error), requeue=True) from None
    if running.tracing is not None:
        running.returned_at = time.time_ns()
    return result


def _result(task: ReplayTask, running: Any, captured: CapturedRequest, body: bytes) -> StoredAnswer:
    worker, task_id, retries = task.worker, captured.task_id, int(running.retries or 0)
    begun = _begun(task, task_id)
    if begun.withdrawn:
        raise Ignore
    if begun.may_have_result:
        meta = task.backend.get_task_meta(task_id, cache=False)
        if meta["status"] == states.SUCCESS:
            # Stored, and the worker was lost before it acknowledged. Returned once more, so that
            # what follows a result follows.
            return StoredAnswer(meta["result"])
        if meta["status"] in states.READY_STATES:
            worker.failed_before(captured)
            raise Ignore
    worker.began(captured, running, begun.delivery, retries)
    # A retry is no delivery that a worker failed to finish.
    delivery = begun.delivery - retries
    tracing: Tracing | None = running.tracing
    if tracing is None:
        answer = _answer(worker, captured, body, delivery)
    else:
        tracing.attempt(begun.delivery)
        with tracing.replaying(captured) as exchange:
            sent_on = tracing.readdressed(captured)
            answer = _answer(worker, sent_on, body, delivery)
            exchange.answered(answer.status, answer.raised)
    worker.ends.ran(running, captured)
    if captured.plan is not None and captured.plan.retry is not None:
        delay = captured.plan.retry.delay(answer.status, answer.raised, retries)
        if delay is not None:
            _retry(task, captured, answer, delay, retries)
    return answer.sealed(task_id, captured.endpoint, worker.answer_sealer)


def _retry(
    task: ReplayTask, captured: CapturedRequest, answer: Answer, delay: float, retries: int
) -> NoReturn:
    """Leaves the request with the broker, to be delivered again after the delay.

    As `Task.retry` does, but for the state that it stores: here only a result is a result.
    """
    logger.info("%s [%s] answered %r: again in %.1f s", captured, captured.task_id, answer, delay)
    assert captured.plan is not None
    options = captured.plan.publish_options()

    def send(**more: Any) -> None:
        again = task.signature_from_request(
            countdown=delay,
            retries=retries + 1,
            # What is shown stays what it was: it is not derived from what is sent.
            argsrepr=shown_request(captured),
            kwargsrepr="{}",
            **options,
            **more,
        )
        in_thread(again.apply_async)

    try:
        if task.worker.tracing is None:
            send()
        else:
            queue = captured.queue or task.worker.settings.kafka_topic
            with task.worker.tracing.sending(queue, captured.task_id) as headers:
                send(headers={**(task.request.headers or {}), **headers})
    except Exception as error:  # noqa: BLE001 - brokers share no base of their errors
        logger.warning("%s [%s] is delivered again at once: %s", captured, captured.task_id, error)
        pause(_REDELIVER_PAUSE_SECONDS)
        raise Reject(str(error), requeue=True) from None
    task.worker.ends.retried(captured)
    raise Ignore


def _begun(task: ReplayTask, task_id: str) -> Begun:
    """Returns once nobody else runs the request. `Worker` gives the lease back after the result."""
    begun = task.worker.runs.begin(task_id, task.backend)
    if not begun.alone:
        logger.info("%s runs elsewhere: waiting for its result", task_id)
    while not begun.alone:
        pause(_LEASE_PAUSE_SECONDS)
        begun = task.worker.runs.begin(task_id, task.backend)
    return begun


def _answer(worker: "Worker", captured: CapturedRequest, body: bytes, delivery: int) -> Answer:
    most = worker.settings.max_deliveries
    if delivery > most:
        logger.error("%s [%s] is given up after %d deliveries", captured, captured.task_id, most)
        detail = f"The request was begun {most} times and no worker could finish it."
        return Answer.problem(500, detail, captured.raw_path)
    if captured.claim is None:
        return worker.app.replay(captured, body)
    in_thread(worker.claims.check, captured.task_id, captured.claim)
    return worker.app.replay(captured, worker.claims.pieces(captured.task_id, captured.claim))
