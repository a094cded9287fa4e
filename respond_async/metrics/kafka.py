"""The Kafka clients of this process, as their own statistics tell."""

from collections.abc import Callable
from typing import Any, Final

from celery import Celery

from respond_async.metrics.definitions import (
    KAFKA_LAG,
    KAFKA_OUTBUF,
    KAFKA_RECEIVED,
    KAFKA_RTT,
    KAFKA_SENT,
    KAFKA_UNSENT,
)
from ws_hub.metrics import Rising, counter, gauge

__all__ = ["KafkaReadings"]


class KafkaReadings:
    """Takes over what a transport with `client_statistics` tells; other transports tell nothing.

    The transport's option `statistics_seconds` switches its statistics on.

    Args:
        celery: Gives the Celery application.
    """

    def __init__(self, celery: Callable[[], Celery]) -> None:
        self._celery: Final = celery
        self._statistics: Any = None
        self._sent: Final[dict[str, Rising]] = {}
        self._received: Final[dict[str, Rising]] = {}
        self._rtt: Final = gauge(KAFKA_RTT)
        self._outgoing: Final = gauge(KAFKA_OUTBUF)
        self._unsent: Final = gauge(KAFKA_UNSENT)
        self._lag: Final = gauge(KAFKA_LAG)
        self._topics: set[str] = set()

    def read(self) -> None:
        """Brings the metrics up to date; asks nobody."""
        lag: dict[str, int] = {}
        for one in self._told():
            kind = one.client
            _rising(self._sent, KAFKA_SENT, kind).follow(one.sent)
            _rising(self._received, KAFKA_RECEIVED, kind).follow(one.received)
            self._rtt.labels(kind).set(one.rtt_seconds)
            self._outgoing.labels(kind).set(one.outgoing_requests)
            if kind == "producer":
                self._unsent.set(one.unsent)
            lag |= one.lag
        # A topic whose partitions have all gone elsewhere has no lag here.
        for topic in self._topics | lag.keys():
            self._lag.labels(topic).set(lag.get(topic, 0))
        self._topics |= lag.keys()

    def _told(self) -> Any:
        if self._statistics is None:
            # The class alone: nothing connects.
            transport = self._celery().connection_for_write().get_transport_cls()
            self._statistics = getattr(transport, "client_statistics", tuple)
        return self._statistics()


def _rising(known: dict[str, Rising], metric: Any, client: str) -> Rising:
    if client not in known:
        known[client] = Rising(counter(metric).labels(client))
    return known[client]
