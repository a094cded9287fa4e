"""The pool as Celery sees it."""

import gc
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from celery import Celery
from celery.app import app_or_default
from celery.concurrency.base import BasePool
from celery.worker.request import Request

from respond_async.pool.bodies import Bodies
from respond_async.pool.job import Job
from respond_async.pool.limits import Limits
from respond_async.pool.loop import LoopThread
from respond_async.pool.notices import Notices
from respond_async.pool.offload import Offload
from respond_async.pool.options import Options
from respond_async.pool.shutdown import give_back, run_acks
from respond_async.pool.slots import Slots
from respond_async.pool.threads import JobThreads
from respond_async.pool.timers import Timers
from respond_async.pool.watch import LoopWatch

__all__ = ["AsyncioPool"]

logger = logging.getLogger(__name__)

_TICK_SECONDS: Final = 0.25
#: Name, id, request, body, content type and encoding.
_TRACER_ARGS: Final = 6


class AsyncioPool(BasePool):
    """Runs async tasks on one event loop, and plain functions in a bounded number of threads.

    Name it in Celery's configuration: `worker_pool = "respond_async.pool:AsyncioPool"`. The
    worker's concurrency is the number of tasks in flight. Settings of its own: `Options`.

    Which thread does what: the worker's main thread consumes, begins jobs and calls Celery's
    callbacks (acks, events); the loop's thread runs async tasks with their tracers; threads of
    `JobThreads` run the others; one thread of `ResultWriter` and some of `Offload` do what blocks;
    the thread of `Timers` watches time limits and the loop.
    """

    #: Celery holds back what is over the limit, and lets it go if it is revoked meanwhile.
    uses_semaphore = True
    #: The main thread may be anywhere when a signal comes.
    signal_safe = False
    #: A task that waits for another task's result may wait for ever.
    task_join_will_block = True
    body_can_be_buffer = True

    def __init__(
        self, limit: int | None = None, *, app: Celery | None = None, **options: Any
    ) -> None:
        super().__init__(limit, app=app or app_or_default(), **options)
        self._settings: Final = Options.of(self.app)
        self._bodies: Final = Bodies(self.app)
        self._slots: Final = Slots(limit or 1, self._begin, options.get("semaphore"))
        self._notices: Notices | None = None
        self._hub: Any = None
        self._stopped = False
        self._restarting = False
        self._given_up = 0
        self._done = 0
        self._gc_thresholds: Final = gc.get_threshold()

    # Begin and end of the worker.

    def on_start(self) -> None:
        """Starts the threads; called once, before anything is consumed."""
        settings = self._settings
        if settings.gc_threshold:
            gc.set_threshold(settings.gc_threshold, *self._gc_thresholds[1:])
        self._bodies.wrap_all()
        self._notices = Notices()
        if self.options.get("threads", False):
            # The transport has no event loop, so nobody would read the notices.
            self._notices.start_thread()
        self._start_threads(self._notices)

    def _start_threads(self, notices: Notices) -> None:
        settings = self._settings
        self._timers = Timers()
        self._loop = LoopThread(self._finished, use_uvloop=settings.uvloop)
        self._threads = JobThreads(settings.threads, self._accept_in_thread, self._finished)
        self._limits = Limits(self._timers, notices, self._loop, settings.grace_seconds)
        self._limits.on_give_up = self._give_up
        self._watch = LoopWatch(self._loop, self._timers, settings.blocked_seconds)
        self._offload = Offload(self.app, self._loop.mailbox)
        self._loop.call(self._offload.install)

    def register_with_event_loop(self, loop: Any) -> None:
        """Has the worker's event loop make the callbacks; again after each reconnection."""
        assert self._notices is not None
        self._hub = loop
        loop.add_reader(self._notices.fileno(), self._notices.read)

    def on_stop(self) -> None:
        """Warm: waits for what runs, up to the limit; cold: what was cancelled, for its grace."""
        self._end(cold=False)

    def on_terminate(self) -> None:
        """Cancels what runs."""
        self._end(cold=True)

    # Celery's requests.

    def on_apply(  # type: ignore[override]  # the stubs say less than Celery passes
        self,
        target: Callable[..., Any],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        callback: Callable[..., Any] | None = None,
        error_callback: Callable[..., Any] | None = None,
        accept_callback: Callable[..., Any] | None = None,
        timeout_callback: Callable[..., Any] | None = None,
        soft_timeout: float | None = None,
        timeout: float | None = None,
        **_: Any,
    ) -> Job:
        """Takes a task; it begins as soon as there is a slot."""
        request = getattr(callback, "__self__", None)
        if isinstance(request, Request):
            soft_timeout, timeout = _limits(request)
            args = _decoded(args, request)
        job = Job(
            target,
            args,
            kwargs or {},
            callback=callback,
            error_callback=error_callback,
            accept_callback=accept_callback,
            timeout_callback=timeout_callback,
            soft_seconds=soft_timeout or self.options.get("soft_timeout"),
            hard_seconds=timeout or self.options.get("timeout"),
        )
        job.on_kill = self._kill
        if self._notices is not None and self._notices.has_thread:
            self._notices.post(self._slots.put, job)
        else:
            self._slots.put(job)
        return job

    def terminate_job(self, pid: int, signal: int | None = None) -> None:
        """Nothing: all tasks have this process's id. `Job.terminate` does it."""

    def grow(self, n: int = 1) -> None:
        """More tasks in flight."""
        self._resize(n)

    def shrink(self, n: int = 1) -> None:
        """Fewer tasks in flight; what runs, runs on."""
        self._resize(-n)

    def restart(self) -> None:
        """Another event loop and other threads, for `control.pool_restart`.

        What runs ends first, however long that takes; what comes meanwhile is begun on the new ones.
        The apps of replays start anew with the first request.
        """
        if self._notices is not None and self._notices.has_thread:
            self._notices.post(self._restart)
        else:
            self._restart()

    @property
    def num_processes(self) -> int:
        """The number of tasks that may be in flight, which is what autoscaling asks for."""
        return self._slots.limit

    @property
    def loop_watch(self) -> LoopWatch | None:
        """How late the event loop is; None before it has started."""
        return self._watch if self._notices is not None else None

    def _get_info(self) -> dict[str, Any]:
        info: dict[str, Any] = super()._get_info()  # type: ignore[misc]  # the stubs lack it
        info["max-concurrency"] = self._slots.limit
        if self._notices is not None:
            info |= {
                "in-flight": len(self._slots.running),
                "waiting": len(self._slots.waiting),
                "done": self._done,
                "given-up": self._given_up,
                "event-loop": self._loop.implementation,
                "loop-lag-seconds": round(self._watch.lag, 4),
                "worst-loop-lag-seconds": round(self._watch.worst_lag, 4),
                "times-blocked": self._watch.blocked,
                "threads": self._threads.count,
                "processes": [os.getpid()],
            }
        return info

    # Jobs: the main thread.

    def _begin(self, job: Job) -> None:
        if job.killed:
            self._finished(job)
        elif self._bodies.runs_on_loop(job.name):
            self._accept(job, time.monotonic())
            self._loop.submit(job)
        else:
            self._threads.submit(job)

    def _accept(self, job: Job, began: float) -> None:
        job.began = began
        if job.phase is not job.phase.DONE:
            self._limits.begin(job)
        if job.accept_callback is not None:
            job.accept_callback(os.getpid(), began)

    def _settle(self, job: Job) -> None:
        """The end of a job, and the begin of the next."""
        self._done += 1
        self._limits.end(job)
        try:
            if job.outcome is not None and not job.killed:
                function, result = job.outcome
                function(result)
        finally:
            if job.given_up:
                logger.warning("%s, given up before, ended after %.1f s", job, job.seconds())
            else:
                self._slots.free(job)
            self._renew_if_idle()

    def _give_up(self, job: Job) -> None:
        if job.phase is job.phase.DONE or job.given_up:
            return
        job.given_up = True
        self._given_up += 1
        logger.error(
            "%s was cancelled and does not end: it is given up after %g s, its slot is free. "
            "What it holds stays held until it ends",
            job,
            self._settings.grace_seconds,
        )
        if job.task is None:
            self._threads.replace()
        self._slots.free(job)
        self._renew_if_idle()

    def _restart(self) -> None:
        logger.info("the pool restarts once %d tasks have ended", len(self._slots.running))
        self._slots.hold()
        self._restarting = True
        self._renew_if_idle()

    def _renew_if_idle(self) -> None:
        if not self._restarting or self._slots.running or self._stopped or self._notices is None:
            return
        self._restarting = False
        self._stop_threads()
        self._start_threads(self._notices)
        self._slots.go_on()
        logger.info("the pool has restarted")

    def _resize(self, by: int) -> None:
        assert self._notices is not None
        limit = self._slots.limit + by
        if limit < 0:
            raise ValueError(f"the pool has {self._slots.limit} slots, and cannot lose {-by}")
        self.limit = limit
        if self._notices.has_thread:
            self._notices.post(self._slots.resize, limit)
        else:
            self._slots.resize(limit)

    # Jobs: any thread.

    def _kill(self, job: Job) -> None:
        assert self._notices is not None
        if self._notices.has_thread:
            self._notices.post(self._limits.kill, job)
        else:
            self._limits.kill(job)

    def _accept_in_thread(self, job: Job) -> None:
        assert self._notices is not None
        self._notices.post(self._accept, job, time.monotonic())

    def _finished(self, job: Job) -> None:
        assert self._notices is not None
        self._notices.post(self._settle, job)

    # The end.

    def _end(self, *, cold: bool) -> None:
        if self._notices is None or self._stopped:
            return
        self._stopped = True
        self._slots.clear()
        if cold:
            self._kill_all()
        limit = self._settings.shutdown_seconds
        if not self._wait_for_jobs(None if not limit or cold else limit):
            logger.warning(
                "%d tasks still run after %g s of shutdown: they are cancelled and left to the "
                "broker",
                len(self._slots.running),
                limit,
            )
            give_back(self, self._slots.running)
            self._kill_all()
            self._wait_for_jobs(None)
        self._close()

    def _kill_all(self) -> None:
        for job in list(self._slots.running):
            self._kill(job)

    def _wait_for_jobs(self, seconds: float | None) -> bool:
        """Whether all jobs ended; those that were killed are given up after their grace."""
        assert self._notices is not None
        deadline = None if seconds is None else time.monotonic() + seconds
        while self._slots.running:
            if deadline is not None and time.monotonic() > deadline:
                return False
            if self._notices.has_thread:
                time.sleep(_TICK_SECONDS)
            else:
                self._notices.wait(_TICK_SECONDS)
                run_acks(self._hub)
        return True

    def _close(self) -> None:
        assert self._notices is not None
        self._stop_threads()
        gc.set_threshold(*self._gc_thresholds)
        if self._hub is not None:
            self._hub.remove_reader(self._notices.fileno())
        self._notices.close()
        self._notices = None

    def _stop_threads(self) -> None:
        self._watch.stop()
        self._timers.stop()
        self._threads.stop()
        self._offload.stop()
        if not self._loop.stop():
            logger.error("the event loop does not end: something blocks it")


def _limits(request: Request) -> tuple[float | None, float | None]:
    """Soft and hard time limit: the message's own, else what the task's are now.

    Celery hands over the task's limits as they were when its worker started, and would so ignore
    those that `control.time_limit` sets.
    """
    hard, soft = request.time_limits
    task = request.task
    return soft or task.soft_time_limit, hard or task.time_limit


def _decoded(args: Sequence[Any], request: Request) -> Sequence[Any]:
    """A tracer's arguments with the message's body as Celery has read it.

    Otherwise the tracer reads it once more, and it is held twice while the task runs.
    """
    if len(args) != _TRACER_ARGS:
        return args
    *head, body, content_type, _ = args
    if content_type and body is request.message.body:
        return (*head, request.message.payload, None, None)
    return args
