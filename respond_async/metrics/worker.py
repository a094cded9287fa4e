"""What a worker counts of the requests that it replays, and of itself."""

import re
from bisect import bisect_left
from time import monotonic
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
from ws_hub.metrics import SECONDS, Rising, counter, gauge, histogram

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

    # A request; each in the process that runs it. `traced`: its spans may be recorded.

    def began(
        self, request: CapturedRequest, waited_seconds: float, unasked: int, *, traced: bool
    ) -> None:
        """An attempt begins; `unasked` deliveries of it were made that no retry asked for."""
        if unasked > 1:
            self._redeliveries.inc()
        else:
            self._wait.observe(request, waited_seconds, traced=traced)

    def ran(self, request: CapturedRequest, seconds: float, *, traced: bool) -> None:
        """An attempt has its answer."""
        self._run.observe(request, seconds, traced=traced)

    def retried(self, request: CapturedRequest) -> None:
        """It is tried again later."""
        self._retries.labels(request.route or OTHER).inc()

    def answered(
        self, request: CapturedRequest, status: int, seconds: float, *, traced: bool
    ) -> None:
        """It has ended, `seconds` after it was accepted."""
        key = request.route, status // 100
        bound = self._answers.get(key)
        if bound is None:
            shown = f"{status // 100}xx" if status else "unknown"
            bound = self._answers[key] = self._answered.labels(request.route or OTHER, shown)
        bound.inc()
        self._end_to_end.observe(request, seconds, traced=traced)

    def failed(
        self, request: CapturedRequest, reason: str, seconds: float, *, traced: bool
    ) -> None:
        """It has ended without an answer."""
        self._failed.labels(request.route or OTHER, reason).inc()
        self._end_to_end.observe(request, seconds, traced=traced)

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
#: How long a bucket shows the request that it has; one that can be looked up in a trace, and others.
#: Prometheus sees what is there when it asks.
_TRACED_SECONDS: Final = 60.0
_SHOWN_SECONDS: Final = 1.0


class _Timed:
    """A histogram by endpoint whose buckets each show one request of theirs (an exemplar)."""

    def __init__(self, metric: "Histogram") -> None:
        self._metric: Final = metric
        self._bound: Final[dict[str, _Shown]] = {}

    def observe(self, request: CapturedRequest, seconds: float, *, traced: bool) -> None:
        bound = self._bound.get(request.route)
        if bound is None:
            bound = self._bound[request.route] = _Shown(self._metric.labels(request.route or OTHER))
        bound.observe(request, seconds if seconds > 0 else 0.0, traced=traced)


class _Shown:
    """One endpoint's. An exemplar takes longer than all else here, so most requests are none."""

    def __init__(self, histogram: "Histogram") -> None:
        self._histogram: Final = histogram
        #: Of each bucket, until when it shows what it has (monotonic).
        self._until: Final = [0.0] * (len(SECONDS) + 1)

    def observe(self, request: CapturedRequest, seconds: float, *, traced: bool) -> None:
        now, bucket = monotonic(), bisect_left(SECONDS, seconds)
        if now < self._until[bucket] and not traced:
            self._histogram.observe(seconds)
            return
        trace = trace_id(sampled=True)
        self._until[bucket] = now + (_TRACED_SECONDS if trace else _SHOWN_SECONDS)
        self._histogram.observe(seconds, _exemplar(request, trace))


def _exemplar(request: CapturedRequest, trace: str | None) -> dict[str, str]:
    # OpenMetrics: 128 characters in all, names too. An id of ours has 64.
    if trace:
        return {"trace_id": trace, "task_id": request.task_id}
    if trace is not None:
        # Of a trace that is not recorded there is nothing to be seen.
        return {"task_id": request.task_id}
    for name, value in request.headers:
        if name == "traceparent" and _TRACE.match(value):
            return {"trace_id": value[3:35], "task_id": request.task_id}
    return {"task_id": request.task_id}
