"""Metrics by Prometheus' conventions: how one is described and made, and the hub's own.

prometheus-client is imported when the first one is made, so a process without metrics pays nothing.
Each is made once a process, in prometheus-client's default registry: what a project counts itself
stands beside it. With PROMETHEUS_MULTIPROC_DIR set the processes that share it are shown as one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, Literal

from ws_hub.counts import COUNTS

if TYPE_CHECKING:
    from prometheus_client import Counter, Gauge, Histogram

__all__ = ["HUB_METRICS", "SECONDS", "Metric", "counter", "gauge", "histogram", "hub_metrics"]

Kind = Literal["counter", "gauge", "histogram"]

#: Seconds, from a replay that took a millisecond to one that waited for a day.
SECONDS: Final = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    60.0, 300.0, 1800.0, 7200.0, 86400.0,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: its name with its unit, what it says, and the labels, whose values are few."""

    name: str
    kind: Kind
    meaning: str
    labels: tuple[str, ...] = ()
    #: How a gauge of several processes is shown as one.
    several: Literal["livesum", "livemax", "livemostrecent"] = "livemostrecent"

    @property
    def series(self) -> tuple[str, ...]:
        """The names that a query can use."""
        if self.kind == "histogram":
            return tuple(f"{self.name}_{end}" for end in ("bucket", "sum", "count"))
        return (self.name,)


CONNECTIONS: Final = Metric(
    "ws_hub_connections", "gauge", "Clients that the hub serves now.", several="livesum"
)
CONNECTED: Final = Metric("ws_hub_connected_total", "counter", "Clients that were let in.")
DELIVERIES: Final = Metric(
    "ws_hub_deliveries_total", "counter", "Messages handed to clients, one for each client."
)
RECOVERIES: Final = Metric(
    "ws_hub_recoveries_total",
    "counter",
    "Clients that came back and asked for what they missed; result: recovered, or gap where"
    " history no longer reached back that far.",
    ("result",),
)
RECONNECTIONS: Final = Metric(
    "ws_hub_redis_reconnections_total",
    "counter",
    "Times that the hub lost its connection to Redis and got it back.",
)

#: The hub's own.
HUB_METRICS: Final = (CONNECTIONS, CONNECTED, DELIVERIES, RECOVERIES, RECONNECTIONS)

_lock: Final = Lock()
_made: Final[dict[str, Any]] = {}


def counter(metric: Metric) -> "Counter":
    """The process's one counter of that name."""
    from prometheus_client import Counter

    made: Counter = _once(metric, lambda: Counter(metric.name, metric.meaning, metric.labels))
    return made


def gauge(metric: Metric) -> "Gauge":
    """The process's one gauge of that name."""
    from prometheus_client import Gauge

    made: Gauge = _once(
        metric,
        lambda: Gauge(metric.name, metric.meaning, metric.labels, multiprocess_mode=metric.several),
    )
    return made


def histogram(metric: Metric) -> "Histogram":
    """The process's one histogram of that name, in seconds."""
    from prometheus_client import Histogram

    made: Histogram = _once(
        metric, lambda: Histogram(metric.name, metric.meaning, metric.labels, buckets=SECONDS)
    )
    return made


def _once(metric: Metric, make: Callable[[], Any]) -> Any:
    with _lock:
        if metric.name not in _made:
            _made[metric.name] = make()
        return _made[metric.name]


class Rising:
    """A counter that follows a number counted elsewhere; a number that falls began anew."""

    def __init__(self, child: "Counter") -> None:
        self._child: Final = child
        self._seen = 0.0

    def follow(self, number: float) -> None:
        """Adds what came on top since the last time."""
        self._child.inc(number - self._seen if number >= self._seen else number)
        self._seen = number


def hub_metrics() -> Callable[[], None]:
    """Makes the hub's metrics; gives what brings them up to date."""
    connections, recoveries = gauge(CONNECTIONS), counter(RECOVERIES)
    connected, deliveries = Rising(counter(CONNECTED)), Rising(counter(DELIVERIES))
    recovered = Rising(recoveries.labels(result="recovered"))
    gaps = Rising(recoveries.labels(result="gap"))
    reconnections = Rising(counter(RECONNECTIONS))

    def read() -> None:
        connections.set(COUNTS.connections)
        connected.follow(COUNTS.connected)
        deliveries.follow(COUNTS.deliveries)
        recovered.follow(COUNTS.recovered)
        gaps.follow(COUNTS.gaps)
        reconnections.follow(COUNTS.redis_reconnections)

    return read
