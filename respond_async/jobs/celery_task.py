"""The Celery task of a job: begins the run, and records how it ended before it is acknowledged."""

import asyncio
import json
import logging
import time
import traceback
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import redis
from celery import Task
from celery.exceptions import Ignore, Reject
from celery.worker.request import Request

from respond_async.jobs import scripts
from respond_async.jobs.definition import Definition
from respond_async.jobs.errors import TaskError
from respond_async.jobs.execution import Cancelled, Execution, TimedOut, scope_of
from respond_async.jobs.keeper import LEASE_MILLISECONDS
from respond_async.jobs.record import Spec
from respond_async.jobs.runtime import MARK, record_of
from respond_async.jobs.state import Status, Verdict
from respond_async.leases import is_dead
from respond_async.moments import moment_of
from respond_async.pool import await_, in_bridge, in_thread, pause, running_loop
from respond_async.scope import ReplayInfo

if TYPE_CHECKING:
    from respond_async.jobs.worker import JobsWorker

logger = logging.getLogger(__name__)

_BUSY_PAUSE_SECONDS: Final = 0.5
_REDELIVER_PAUSE_SECONDS: Final = 1.0
# Each takes some seconds itself: together half a minute.
_END_ATTEMPTS: Final = 6
_END_PAUSE_SECONDS: Final = 2.0
_TRACEBACK_CHARACTERS: Final = 16_384
_NEVER_SECONDS: Final = 10 * 365 * 86_400
_OUTBOX_MILLISECONDS: Final = 30_000


class JobRequest(Request):
    """Celery's record of one delivery, in the worker's main process."""

    def _announce_revoked(self, *args: Any, **kwargs: Any) -> None:
        # Celery's own `revoke` takes the message away: without this the job would be PENDING on.
        super()._announce_revoked(*args, **kwargs)  # type: ignore[misc]
        from respond_async.jobs.worker import current_worker

        current_worker().cancel_soon(self.id)


class JobTask(Task[Any, Any]):
    """Base of the Celery tasks that `task` registers."""

    #: Celery's way to name a request class for a task.
    Request = "respond_async.jobs.celery_task:JobRequest"
    acks_late = True
    reject_on_worker_lost = True
    #: What blocks goes through `in_thread`; a sync function has a thread of its own.
    on_loop = True
    throws = (TaskError,)
    #: A job's limit is its own: Celery's would leave it RUNNING.
    time_limit = soft_time_limit = _NEVER_SECONDS
    abstract = True

    definition: Definition


def run_job(task: JobTask, *args: Any, **kwargs: Any) -> Any:
    """One delivery of a job's message.

    Raises:
        TaskError: The job failed.
        Reject: It is to be delivered again: Redis is not there.
        Ignore: There is nothing to do.
    """
    if task.request.called_directly:
        return task.definition.function(*args, **kwargs)
    from respond_async.jobs.worker import current_worker

    try:
        return _Delivery(task, current_worker(), args, kwargs).run()
    except (redis.RedisError, OSError) as error:
        logger.warning("%s [%s] is delivered again: %s", task.name, task.request.id, error)
        pause(_REDELIVER_PAUSE_SECONDS)
        raise Reject(str(error), requeue=True) from None


def run_without_loop(execution: Execution) -> Any:
    """What a run comes to, in a pool without a loop."""
    return asyncio.run(execution.run())


class _Delivery:
    def __init__(
        self, task: JobTask, worker: "JobsWorker", args: Any, kwargs: Mapping[str, Any]
    ) -> None:
        self._task: Final = task
        self._id: Final = str(task.request.id)
        self._worker: Final = worker
        self._jobs: Final = worker.jobs
        self._definition: Final = task.definition
        self._holder: Final = worker.keeper.new_holder()
        # Created with `create_task`; otherwise by Celery's own means, and its result is awaited there.
        self._ours: Final = MARK in kwargs
        self._given: Final = (args, kwargs)
        self._spec = Spec(arguments={})
        # Whether the worker has something to look after once this is over.
        self._wakes = True

    def run(self) -> Any:
        """Whatever the delivery comes to."""
        verdict, record = self._begun()
        if verdict == Verdict.GONE:
            logger.info("%s [%s] was deleted: it does not run", self._task.name, self._id)
            raise Ignore
        if verdict == Verdict.PARKED:
            raise Ignore
        self._spec = Spec.opened(self._jobs.sealer, record["spec"], self._id)
        if verdict == Verdict.ENDED:
            # A begin that ends a job does not know whom to tell; nor does one that was killed then.
            self._script(scripts.TELL, self._id, self._hub())
            return self._ended(record)
        return self._run(record)

    def _begun(self) -> tuple[str, dict[str, str]]:
        fields: list[str] = []
        if not self._ours:
            args, kwargs = self._given
            spec = Spec(
                arguments=self._definition.arguments.to_json(args, kwargs),
                timeout=self._jobs.timeout_of(self._definition),
            )
            fields = self._jobs.fields(self._definition, spec, self._id)
        dead = ""
        while True:
            answer = self._script(
                scripts.BEGIN, self._id, self._holder, LEASE_MILLISECONDS,
                self._jobs.settings.max_deliveries, dead, *self._jobs.kept,
                str(int(not self._ours)),
                *self._jobs.limits(self._definition), *fields,
            )  # fmt: skip
            verdict = answer[0].decode()
            if verdict != Verdict.BUSY:
                return verdict, record_of(answer)
            other = answer[1].decode("utf-8", "replace")
            if other != dead and is_dead(other):
                dead = other
            else:
                pause(_BUSY_PAUSE_SECONDS)

    def _run(self, record: Mapping[str, str]) -> Any:
        created = moment_of(int(record["created"]))
        info = ReplayInfo(task_id=self._id, accepted_at=created, channel=self._spec.channel)
        execution = Execution(
            self._definition,
            self._spec.arguments,
            self._spec.timeout,
            scope_of(self._task.name, info, self._worker.identities),
        )
        self._worker.keeper.add(self._id, self._holder, self._hub(), execution)
        try:
            value = self._definition.arguments.result(self._traced(execution, record))
        except Cancelled:
            self._end(Status.CANCELLED, None, None)
        except TimedOut:
            message = f"It ran longer than {self._spec.timeout:g} s."
            raise self._failed(Status.TIMEOUT, TaskError("timeout", message)) from None
        except Exception as error:
            self._again(error, int(record["attempts"]))
            logger.warning("%s [%s] failed", self._task.name, self._id, exc_info=error)
            raise self._failed(Status.FAILED, error) from error
        except BaseException:
            # The worker ends it: the broker gives it to another.
            self._put_back(None)
            raise
        else:
            self._end(Status.COMPLETED, "result", value)
            return None if self._ours else value
        finally:
            self._worker.keeper.drop(self._id)
            if self._wakes:
                self._worker.wake()
        raise Ignore

    def _traced(self, execution: Execution, record: Mapping[str, str]) -> Any:
        tracing = self._jobs.tracing
        if tracing is None:
            return self._awaited(execution)
        tracing.attempt(int(record["attempts"]))
        with tracing.carrying(self._spec.trace):
            return self._awaited(execution)

    @staticmethod
    def _awaited(execution: Execution) -> Any:
        if in_bridge() or running_loop() is not None:
            return await_(execution.run())
        return run_without_loop(execution)

    def _failed(self, status: Status, error: Exception) -> TaskError:
        kept: dict[str, str] = {}
        if self._jobs.config.keep_tracebacks and status is Status.FAILED:
            kept["traceback"] = "".join(traceback.format_exception(error))[-_TRACEBACK_CHARACTERS:]
        if not isinstance(error, TaskError):
            error = TaskError("error", f"{type(error).__name__}: {error}")
        self._end(
            status,
            "error",
            {"code": error.code, "message": error.message, "details": error.details, **kept},
        )
        return error

    def _end(self, status: Status, what: str | None, value: Any) -> None:
        sealed = [what, self._sealed(value)] if what else []
        since = time.time_ns()
        counts = self._ended_in_redis(status, sealed)
        if self._jobs.tracing is not None:
            self._jobs.tracing.stored(since)
        if not counts:
            logger.warning("%s [%s] was taken over: its end here does not count",
                           self._task.name, self._id)  # fmt: skip
            raise Ignore
        self._wakes = counts > 1

    def _ended_in_redis(self, status: Status, sealed: list[str]) -> int:
        """What END gives. A Redis that restarts is waited for: what ran must not seem lost."""
        for left in reversed(range(_END_ATTEMPTS)):
            try:
                self._worker.keeper.report(self._id, last=True)
                return int(self._script(
                    scripts.END, self._id, self._holder, status, self._hub(),
                    *self._jobs.kept, *sealed,
                ))  # fmt: skip
            except (redis.RedisError, OSError) as error:
                if not left:
                    raise
                logger.warning(
                    "the end of %s [%s] is not in Redis yet: %s", self._task.name, self._id, error
                )
                pause(_END_PAUSE_SECONDS)
        raise AssertionError("the last attempt returns or raises")

    def _again(self, error: Exception, attempts: int) -> None:
        """Raises Ignore if the job is tried again."""
        seconds = self._definition.retry_after(error, attempts)
        if seconds is None or not self._put_back(seconds):
            return
        logger.info(
            "%s [%s] is tried again in %.1f s: %r", self._task.name, self._id, seconds, error
        )
        tracing = self._jobs.tracing
        if tracing is None:
            self._send_again(seconds)
        else:
            with tracing.sending(self._definition.queue, self._id) as headers:
                self._send_again(seconds, headers={**(self._task.request.headers or {}), **headers})
        self._script(scripts.SENT, self._id)
        raise Ignore

    def _send_again(self, seconds: float, **more: Any) -> None:
        again = self._task.signature_from_request(
            countdown=seconds, retries=int(self._task.request.retries or 0) + 1, **more
        )
        in_thread(again.apply_async)

    def _put_back(self, seconds: float | None) -> bool:
        wait = "" if seconds is None else int(seconds * 1000)
        return bool(self._script(
            scripts.PUT_BACK, self._id, self._holder, self._hub(),
            *self._jobs.kept, wait, _OUTBOX_MILLISECONDS,
        ))  # fmt: skip

    def _ended(self, record: Mapping[str, str]) -> Any:
        """What a delivery after the end comes to: what Celery awaits is given once more."""
        sealer = self._jobs.sealer
        if self._ours or record["status"] not in (Status.COMPLETED, Status.FAILED):
            raise Ignore
        if "result" in record:
            return json.loads(sealer.open(record["result"], self._id))
        if "error" in record:
            kept = json.loads(sealer.open(record["error"], self._id))
            raise TaskError(kept["code"], kept["message"], kept["details"])
        raise TaskError("lost", "Its worker died while it ran, and it may not be run again.")

    def _hub(self) -> str:
        return self._jobs.hub(self._spec.channel, self._id)

    def _sealed(self, value: Any) -> str:
        return self._jobs.sealer.seal(json.dumps(value).encode(), self._id)

    def _script(self, script: Any, *args: Any) -> Any:
        return self._worker.scripts.run(script, [], args)
