"""A worker's side of jobs: what their Celery tasks work with, the outbox, and pruning."""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Thread
from time import monotonic
from typing import Any, Final

import redis
from celery import Celery, signals

from respond_async.errors import ConfigurationError, EnvelopeError
from respond_async.identity import Identities
from respond_async.jobs import schedule_scripts, scripts
from respond_async.jobs.calling_back import (
    ATTEMPTS,
    GivenUp,
    NotCalled,
    call_back,
    seconds_after,
)
from respond_async.jobs.config import TaskConfig
from respond_async.jobs.definition import DEFINITIONS, Definition
from respond_async.jobs.keeper import Keeper
from respond_async.jobs.record import Spec, read_fields, read_hash, read_job
from respond_async.jobs.reporting import JobLog
from respond_async.jobs.runtime import Jobs, message_options
from respond_async.jobs.schedules import firing
from respond_async.scripts import Scripts
from respond_async.settings import Settings
from ws_hub import Script

logger = logging.getLogger(__name__)

_OUTBOX_SECONDS: Final = 1.0
_AGAIN_MILLISECONDS: Final = 30_000
_AT_ONCE: Final = 500
#: Redis does nothing else meanwhile.
PRUNED_AT_ONCE: Final = 100
# Together they take less than it takes until they are due again.
_CALLS_AT_ONCE: Final = 20

_current: "JobsWorker | None" = None


class JobsWorker:
    """Lets the workers of a Celery application run jobs; once in the module of the application.

    Args:
        celery: The application.
        settings: Default: from the environment.
        config: The same as in the app.
    """

    def __init__(
        self,
        celery: Celery,
        settings: Settings | None = None,
        config: TaskConfig | None = None,
    ) -> None:
        global _current  # noqa: PLW0603
        self.jobs: Final = Jobs(celery, settings, config)
        self.scripts: Final = Scripts(self.jobs.settings)
        self.keeper: Final = Keeper(self.scripts, self.jobs.sealer)
        self.identities: Final = Identities(self.jobs.settings)
        self._celery: Final = celery
        self._ended: Final = Event()
        self._woken: Final = Event()
        self._log: Final = JobLog(self.jobs.config.log_level)
        self._thread: Thread | None = None
        self._cancels: Final = ThreadPoolExecutor(1, "respond_async.jobs.cancel")
        _current = self
        if self.jobs.tracing is not None:
            from respond_async.tracing.deliveries import trace_deliveries

            trace_deliveries(celery, self.jobs.tracing)
        # Celery keeps receivers by weak reference otherwise.
        signals.worker_ready.connect(self._ready, weak=False)
        signals.worker_process_init.connect(self._keep_logs, weak=False)
        signals.worker_shutdown.connect(self._shut_down, weak=False)

    def cancel_soon(self, job_id: str) -> None:
        """Cancels a job that Celery revoked, in a thread; what fails is logged."""
        self._cancels.submit(self._cancel, job_id)

    def sweep(self) -> int:
        """Publishes what was not published, and what there is room for again; how many.

        Raises:
            redis.RedisError: Redis did not answer.
        """
        self._run(scripts.UNPARK)
        due = [
            each.decode()
            for each in self._run(scripts.DUE, _AT_ONCE, _AGAIN_MILLISECONDS, "unsent")
        ]
        for job_id in due:
            name = self.scripts.connection.hget(f"{scripts.PREFIX}job:{job_id}", "function")
            definition = DEFINITIONS.get(name.decode()) if isinstance(name, bytes) else None
            if definition is None:
                logger.error("%s is not registered in this worker: %s waits", name, job_id)
                continue
            self._send(definition, job_id)
            self._run(scripts.SENT, job_id)
        return len(due)

    def _send(self, definition: Definition, job_id: str) -> None:
        options = message_options(definition)
        tracing = self.jobs.tracing
        if tracing is None:
            self._celery.send_task(definition.name, task_id=job_id, **options)
            return
        sealed: Any = self.scripts.connection.hget(f"{scripts.PREFIX}job:{job_id}", "spec")
        try:
            trace = Spec.opened(self.jobs.sealer, sealed.decode(), job_id).trace if sealed else {}
        except EnvelopeError:
            # Its delivery says so.
            trace = {}
        with tracing.sending(definition.queue, job_id, trace) as headers:
            self._celery.send_task(definition.name, task_id=job_id, headers=headers, **options)

    def fire(self) -> int:
        """Makes the jobs of schedules that are due; how many. `sweep` publishes them.

        Raises:
            redis.RedisError: Redis did not answer.
        """
        fired = 0
        now, due = self._run(schedule_scripts.DUE, _AT_ONCE)
        for flat in due:
            asked = firing(read_fields(flat), int(now), self.jobs) if flat else None
            if asked is not None and self._run(schedule_scripts.FIRE, *asked.args):
                fired += asked.job_id != ""
        return fired

    def wake(self) -> None:
        """Has done soon what the end of a run makes possible."""
        self._woken.set()

    def call_back(self) -> None:
        """Calls what is owed for jobs that have ended.

        Raises:
            redis.RedisError: Redis did not answer.
        """
        while due := self._run(scripts.DUE, _CALLS_AT_ONCE, _AGAIN_MILLISECONDS, "owed"):
            asyncio.run(self._call_all([each.decode() for each in due]))

    async def _call_all(self, job_ids: list[str]) -> None:
        await asyncio.gather(*(self._call(job_id) for job_id in job_ids))

    async def _call(self, job_id: str) -> None:
        connection: Any = self.scripts.connection
        fields = read_hash(connection.hgetall(f"{scripts.PREFIX}job:{job_id}"))
        if not fields:
            self._run(scripts.SETTLE, job_id, "done")
            return
        sealer, config = self.jobs.sealer, self.jobs.config
        webhook = Spec.opened(sealer, fields["spec"], job_id).webhook
        failures = int(fields.get("owed_tries", 0)) + 1
        outcome = "done"
        try:
            await call_back(read_job(fields, sealer), fields["function"], webhook, config)
        except NotCalled as error:
            logger.warning("%s (%d of %d)", error, failures, ATTEMPTS)
            if failures < ATTEMPTS:
                self._run(scripts.OWE_ON, job_id, int(seconds_after(failures) * 1000))
                return
            outcome = "failed"
        except GivenUp as error:
            logger.warning("%s", error)
            outcome = "failed"
        self._run(scripts.SETTLE, job_id, outcome)

    def prune(self) -> int:
        """Removes jobs that are too old or too many; how many.

        Raises:
            redis.RedisError: Redis did not answer.
        """
        config = self.jobs.config
        removed = 0
        while True:
            some: int = self._run(
                scripts.PRUNE, str(config.task_result_ttl), config.max_task_history, PRUNED_AT_ONCE
            )
            removed += some
            if some < PRUNED_AT_ONCE:
                return removed

    def start(self) -> None:
        """Keeps what jobs log, and looks after all jobs, in a thread, until `stop`."""
        self.keep_logs()
        self._thread = Thread(target=self._watch, name="respond_async.jobs.sweep", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends what `start` began, and hears of no worker any more."""
        self._ended.set()
        self._woken.set()
        if self._thread is not None:
            self._thread.join()
        logging.getLogger().removeHandler(self._log)
        signals.worker_ready.disconnect(self._ready)
        signals.worker_process_init.disconnect(self._keep_logs)
        signals.worker_shutdown.disconnect(self._shut_down)

    def keep_logs(self) -> None:
        """Keeps what jobs of this process log, for their owners."""
        root = logging.getLogger()
        root.addHandler(self._log)
        if root.level > self._log.level:
            logger.warning(
                "TaskConfig.log_level is %s, but the root logger passes on %s and above alone: start"
                " the worker with -l %s, or give the jobs' loggers a level of their own",
                *map(logging.getLevelName, (self._log.level, root.level, self._log.level)),
            )

    def look_after(self) -> None:
        """Publishes and calls what is due.

        Raises:
            redis.RedisError: Redis did not answer.
            Exception: What the broker's client raises.
        """
        self.fire()
        self.sweep()
        self.call_back()

    def _ready(self, sender: Any, **_: Any) -> None:
        if sender.app is self._celery:
            self.start()

    def _keep_logs(self, **_: Any) -> None:
        # After Celery has set up the root logger, and in each process of prefork.
        self.keep_logs()

    def _shut_down(self, **_: Any) -> None:
        # Not joined: it may wait for a Redis that is not there.
        self._ended.set()
        self._woken.set()
        logging.getLogger().removeHandler(self._log)

    def _watch(self) -> None:
        prune_at = 0.0
        wait = min(_OUTBOX_SECONDS, self.jobs.config.cleanup_interval)
        while not self._ended.is_set():
            self._woken.wait(wait)
            self._woken.clear()
            try:
                self.look_after()
                if monotonic() >= prune_at:
                    prune_at = monotonic() + self.jobs.config.cleanup_interval
                    self.prune()
            except Exception as error:  # noqa: BLE001 - brokers share no base of their errors
                logger.warning("jobs were not looked after: %s", error)

    def _cancel(self, job_id: str) -> None:
        try:
            self._run(scripts.CANCEL, job_id, "", *self.jobs.kept)
        except (redis.RedisError, OSError) as error:
            logger.warning("%s was revoked and is not CANCELLED: %s", job_id, error)

    def _run(self, script: Script, *args: Any) -> Any:
        return self.scripts.run(script, [], args)


def current_worker() -> JobsWorker:
    """What the jobs of this process work with.

    Raises:
        ConfigurationError: There is none.
    """
    if _current is None:
        raise ConfigurationError("a worker that runs jobs needs JobsWorker(celery) in its module")
    return _current
