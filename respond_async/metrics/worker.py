"""What a worker counts of the requests that it replays, and of itself."""

import re
from typing import TYPE_CHECKING, Any, Final

from celery import Celery
from celery.worker import state

from respond_async.envelope import CapturedRequest
from respond_async.metrics.definitions import (
    ACTIVE,
    ANSWERED,
    CONCURRENCY,
    END_TO_END,
    FAILED,
    LOOP_BLOCKED,
    LOOP_LAG,
    REDELIVERIES,
    RESERVED,
    RETRIES,
    RUN,
    WAIT,
)
from respond_async.metrics.kafka import KafkaReadings
from respond_async.metrics.routes import OTHER
from respond_async.settings import Settings
from respond_async.tracing.current import trace_id
from ws_hub.exposition import Exposition
from ws_hub.metrics import Rising, counter, gauge, histogram

if TYPE_CHECKING:
    from prometheus_client import Histogram

__all__ = ["WorkerMetrics"]


class WorkerMetrics:
    """The metrics of one worker, its pool's processes among them; only made where they are on.

    Args:
        settings: Who may read them.
        celery: The Celery application.
    """

    def __init__(self, settings: Settings, celery: Celery) -> None:
        self._exposition: Final = Exposition(settings)
        self._celery: Final = celery
        self._pool: Any = None
        self._answered: Final = counter(ANSWERED)
        self._failed: Final = counter(FAILED)
        self._retries: Final = counter(RETRIES)
        self._redeliveries: Final = counter(REDELIVERIES)
        self._wait: Final = _Timed(histogram(WAIT))
        self._run: Final = _Timed(histogram(RUN))
        self._end_to_end: Final = _Timed(histogram(END_TO_END))
        self._active: Final = gauge(ACTIVE)
        self._reserved: Final = gauge(RESERVED)
        self._concurrency: Final = gauge(CONCURRENCY)
        self._lag: Final = gauge(LOOP_LAG)
        self._blocked: Final = Rising(counter(LOOP_BLOCKED))
        self._answers: Final[dict[tuple[str, int], Any]] = {}

    def start(self, pool: Any) -> None:
        """Opens the port: in the worker's main process, once its pool has started."""
        self._pool = pool
        self._exposition.read_with(self._read)
        self._exposition.read_with(KafkaReadings(lambda: self._celery).read)
        self._exposition.start()

    def stop(self) -> None:
        """Closes the port."""
        self._exposition.stop()

    # A request; each in the process that runs it.

    def began(self, request: CapturedRequest, waited_seconds: float, unasked: int) -> None:
        """An attempt begins; `unasked` deliveries of it were made that no retry asked for."""
        if unasked > 1:
            self._redeliveries.inc()
        else:
            self._wait.observe(request, waited_seconds)

    def ran(self, request: CapturedRequest, seconds: float) -> None:
        """An attempt has its answer."""
        self._run.observe(request, seconds)

    def retried(self, request: CapturedRequest) -> None:
        """It is tried again later."""
        self._retries.labels(request.route or OTHER).inc()

    def answered(self, request: CapturedRequest, status: int, seconds: float) -> None:
        """It has ended, `seconds` after it was accepted."""
        key = request.route, status // 100
        bound = self._answers.get(key)
        if bound is None:
            shown = f"{status // 100}xx" if status else "unknown"
            bound = self._answers[key] = self._answered.labels(request.route or OTHER, shown)
        bound.inc()
        self._end_to_end.observe(request, seconds)

    def failed(self, request: CapturedRequest, reason: str, seconds: float) -> None:
        """It has ended without an answer."""
        self._failed.labels(request.route or OTHER, reason).inc()
        self._end_to_end.observe(request, seconds)

    def _read(self) -> None:
        self._active.set(len(state.active_requests))
        self._reserved.set(len(state.reserved_requests))
        self._concurrency.set(self._pool.num_processes)
        watch = getattr(self._pool, "loop_watch", None)
        if watch is not None:
            self._lag.set(watch.lag)
            self._blocked.follow(watch.blocked)


#: W3C Trace Context 3.2.2: version-trace-parent-flags.
_TRACE: Final = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


class _Timed:
    """A histogram by endpoint whose buckets each show one request of theirs (an exemplar)."""

    def __init__(self, metric: "Histogram") -> None:
        self._metric: Final = metric
        self._bound: Final[dict[str, Histogram]] = {}

    def observe(self, request: CapturedRequest, seconds: float) -> None:
        bound = self._bound.get(request.route)
        if bound is None:
            bound = self._bound[request.route] = self._metric.labels(request.route or OTHER)
        bound.observe(seconds if seconds > 0 else 0.0, _exemplar(request))


def _exemplar(request: CapturedRequest) -> dict[str, str]:
    # OpenMetrics: 128 characters in all, names too. An id of ours has 64.
    current = trace_id(sampled=True)
    if current is not None:
        # Of a trace that is not recorded there is nothing to be seen.
        return (
            {"trace_id": current, "task_id": request.task_id}
            if current
            else {"task_id": request.task_id}
        )
    for name, value in request.headers:
        if name == "traceparent" and _TRACE.match(value):
            return {"trace_id": value[3:35], "task_id": request.task_id}
    return {"task_id": request.task_id}
