"""Messages that are not due yet, kept in Kafka itself.

A queue's delay topic has one partition for each power of two seconds. What waits in partition *k*
waits there for 2^k seconds, so each partition is in order of its end, and of a million waiting
messages only the first few of each partition are looked at. A message with 13 seconds to go waits
8 in partition 3, then 4 in partition 2, then 1 in partition 0; then it goes to its queue.
(RabbitMQ's delayed delivery for quorum queues climbs down the same ladder.)

Each step is published, confirmed, and only then acked: nothing is lost with a worker. The worker
that has the queue's partition 0 does this for all.
"""

from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from confluent_kafka import Message as Record

from kafka_transport.partitions import Place

__all__ = ["LEVELS", "Waiting", "delay_topic", "due_time", "level_for", "rest_seconds"]

#: 2^27 seconds are more than four years.
LEVELS: Final = 28

#: Below this many seconds the worker's own timer is as good.
SHORTEST_SECONDS: Final = 1.0

#: From this level on (32 s) a partition that was read to its end is left alone for a quarter of what
#: messages wait there, at most so many seconds: each partition that is fetched costs the broker with
#: every message of the queue. The news is late by that, and by some three seconds more.
RESTING_LEVEL: Final = 5
LONGEST_REST_SECONDS: Final = 256.0


def delay_topic(topic: str) -> str:
    """Where the messages for a queue's topic wait."""
    return f"{topic}.delay"


def due_time(headers: dict[str, Any]) -> float | None:
    """The time at which a message is to be delivered, as seconds since the epoch, or None.

    It is Celery's `eta` header, ISO 8601 (task message protocol 2); without a zone it is UTC.
    """
    eta = headers.get("eta")
    if not eta:
        return None
    try:
        moment = eta if isinstance(eta, datetime) else datetime.fromisoformat(str(eta))
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def level_for(seconds: float, partitions: int = LEVELS) -> int | None:
    """The partition for a message with so long to go; None if it is as good as due.

    A topic with fewer partitions than `LEVELS` does too: it takes more steps.
    """
    if seconds < SHORTEST_SECONDS:
        return None
    return min(int(seconds).bit_length(), partitions) - 1


def rest_seconds(level: int) -> float:
    """How long a delay partition without a message needs no look."""
    return min(2.0**level / 4, LONGEST_REST_SECONDS) if level >= RESTING_LEVEL else 0.0


@dataclass(slots=True)
class Waiting:
    """The first records of each delay partition that this process has; the rest is in Kafka."""

    _records: dict[Place, deque[Record]] = field(default_factory=dict)

    def add(self, place: Place, record: Record) -> None:
        """Takes a record that came in."""
        self._records.setdefault(place, deque()).append(record)

    def drop(self, places: set[Place]) -> list[tuple[Place, Record]]:
        """Takes out what waits in these partitions."""
        return [(place, record) for place in places for record in self._records.pop(place, deque())]

    def places(self) -> set[Place]:
        """Partitions with a record that waits: they need not be read further."""
        return {place for place, records in self._records.items() if records}

    def take_due(self, now: float) -> list[tuple[Place, Record]]:
        """Records whose time in their partition is over."""
        due = []
        for place, records in self._records.items():
            while records and _end(records[0], place[1]) <= now:
                due.append((place, records.popleft()))
        return due


def _end(record: Record, level: int) -> float:
    _, milliseconds = record.timestamp()
    return float(milliseconds) / 1000 + float(2**level)
