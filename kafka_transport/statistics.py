"""What librdkafka's clients of this process tell of themselves, as numbers.

Off unless the option `statistics_seconds` is set: then every producer and every group consumer
gives its statistics so often, by the thread that polls it. A text of some 20 KB is parsed each time
(0.2 ms of CPU), so an interval of seconds costs nothing to speak of.
"""

import json
import os
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from kafka_transport.config import Options
from kafka_transport.native import Lock

__all__ = ["ClientStatistics", "client_statistics", "statistics_properties"]

Client = Literal["producer", "consumer"]

#: Intervals after which a client that says nothing has ended.
_SILENT: Final = 3


@dataclass(frozen=True, slots=True)
class ClientStatistics:
    """All clients of one kind together."""

    client: Client
    #: Messages since the process began; clients that have ended count too.
    sent: int
    received: int
    #: Mean time to an answer, of the slowest broker.
    rtt_seconds: float
    #: Requests that wait to be sent or to be answered.
    outgoing_requests: int
    #: Messages that no broker has confirmed.
    unsent: int
    #: Messages behind what was committed, by topic; of the partitions assigned here.
    lag: Mapping[str, int]


@dataclass(slots=True)
class _Told:
    """What one client told last."""

    at: float
    rtt_seconds: float = 0.0
    outgoing: int = 0
    unsent: int = 0
    lag: Counter[str] = field(default_factory=Counter)


_lock = Lock()
_told: Final[dict[int, tuple[Client, float, _Told]]] = {}
_sent: Final[Counter[str]] = Counter()
_received: Final[Counter[str]] = Counter()


def _in_child() -> None:
    global _lock  # noqa: PLW0603
    _lock = Lock()
    for known in (_told, _sent, _received):
        known.clear()


os.register_at_fork(after_in_child=_in_child)


def client_statistics() -> list[ClientStatistics]:
    """One for each kind of client that has told anything; asks nobody."""
    with _lock:
        now = time.monotonic()
        for key, (_, seconds, told) in list(_told.items()):
            if now - told.at > _SILENT * seconds:
                del _told[key]
        found = []
        for client in sorted(_sent.keys() | _received.keys()):
            mine = [told for kind, _, told in _told.values() if kind == client]
            found.append(
                ClientStatistics(
                    "producer" if client == "producer" else "consumer",
                    sent=_sent[client],
                    received=_received[client],
                    rtt_seconds=max((told.rtt_seconds for told in mine), default=0.0),
                    outgoing_requests=sum(told.outgoing for told in mine),
                    unsent=sum(told.unsent for told in mine),
                    lag=dict(sum((told.lag for told in mine), Counter())),
                )
            )
        return found


def statistics_properties(options: Options, client: Client) -> dict[str, Any]:
    """What a client is made with; nothing if statistics are off."""
    if not options.statistics_seconds:
        return {}
    return {
        "statistics.interval.ms": max(1, int(options.statistics_seconds * 1000)),
        "stats_cb": _Taker(client, options.statistics_seconds),
    }


class _Taker:
    """librdkafka's callback for one client."""

    def __init__(self, client: Client, seconds: float) -> None:
        self._client: Final[Client] = client
        self._seconds: Final = seconds
        self._sent = 0
        self._received = 0

    def __call__(self, text: str) -> None:
        given = json.loads(text)
        told = _Told(time.monotonic(), unsent=given.get("msg_cnt", 0))
        for broker in given.get("brokers", {}).values():
            told.rtt_seconds = max(told.rtt_seconds, broker["rtt"]["avg"] / 1e6)
            told.outgoing += broker["outbuf_cnt"] + broker["waitresp_cnt"]
        for name, topic in given.get("topics", {}).items():
            lags = [part["consumer_lag"] for part in topic["partitions"].values()]
            if self._client == "consumer":
                # -1: not known, as of a partition that is another member's.
                told.lag[name] = sum(lag for lag in lags if lag > 0)
        sent, received = given.get("txmsgs", 0), given.get("rxmsgs", 0)
        with _lock:
            _sent[self._client] += sent - self._sent
            _received[self._client] += received - self._received
            _told[id(self)] = (self._client, self._seconds, told)
        self._sent, self._received = sent, received
