"""What becomes of a record that came in: delivered, kept until it is due, or dead."""

import logging
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import partial
from typing import Final

from confluent_kafka import Message as Record

from kafka_transport.cluster import Cluster
from kafka_transport.config import Options
from kafka_transport.delays import Waiting, delay_topic, due_time, level_for
from kafka_transport.forwarding import Forwarder
from kafka_transport.inbox import Delivery
from kafka_transport.partitions import Partitions, Place
from kafka_transport.publisher import Destination, Outgoing
from kafka_transport.topics import DEAD, DELAY, dead_letter_topic
from kafka_transport.wire import RecordHeaders, decode, record_headers

__all__ = ["Intake", "death_headers"]

logger = logging.getLogger(__name__)


class Intake:
    """The polling thread's own."""

    def __init__(self, options: Options, partitions: Partitions, cluster: Cluster) -> None:
        self._options: Final = options
        self._partitions: Final = partitions
        self._topics: Final = cluster.topics
        self._forwarder: Final = Forwarder(cluster.publisher, partitions.settle)
        self._waiting: Final = Waiting()

    def take(self, record: Record, queue: str) -> Delivery | None:
        """The delivery of a record, or None if there is none now."""
        place, offset = _whence(record)
        before = self._partitions.receive(place, offset, record.timestamp()[1])
        if before is None:
            return None
        if self.is_delay(place):
            self._waiting.add(place, record)
            return None
        try:
            envelope = decode(record)
        except ValueError as error:
            self._bury(record, f"no message: {error}")
            return None
        before += int(envelope.properties.get("delivery_count") or 0)
        if 0 < self._options.max_deliveries <= before:
            self._bury(record, f"delivered {before} times and never acked")
            return None
        return Delivery(
            queue=queue,
            envelope=envelope,
            origin=place,
            deliveries=before,
            begin=lambda: self._partitions.begin(place, offset),
            settle=lambda: self._partitions.settle(place, offset),
            drop=lambda: self._partitions.forget(place, offset),
        )

    def forward_due(self, now: float) -> None:
        """Sends on what has waited long enough, and what could not be sent before."""
        self._forwarder.retry()
        for place, record in self._waiting.take_due(now):
            offset = _whence(record)[1]
            self._forwarder.forward(place, offset, partial(self._next_step, record, now))

    def waiting_places(self) -> set[Place]:
        """Delay partitions of which enough was read for now."""
        return self._waiting.places()

    def drop(self, places: Iterable[Place]) -> None:
        """These partitions go to another member."""
        gone = set(places)
        self._forwarder.drop(gone)
        for place, record in self._waiting.drop(gone):
            self._partitions.forget(place, _whence(record)[1])

    @staticmethod
    def is_delay(place: Place) -> bool:
        """Whether messages wait there until they are due."""
        return place[0].endswith(delay_topic(""))

    def _next_step(self, record: Record, now: float) -> Outgoing:
        topic = str(record.topic())
        target = topic.removesuffix(delay_topic(""))
        try:
            due = due_time(decode(record).headers) or now
        except ValueError:
            due = now
        level = level_for(due - now, self._topics.ensure(topic, DELAY))
        onward = target if level is None else topic
        to = Destination(onward, self._topics.ensure(onward), level)
        return Outgoing(to, record.value() or b"", record_headers(record), _key(record))

    def _bury(self, record: Record, reason: str) -> None:
        place, offset = _whence(record)
        topic = dead_letter_topic(place[0])
        logger.error("offset %d of %s[%d] goes to %s: %s", offset, *place, topic, reason)
        if not self._options.dead_letters:
            self._partitions.settle(place, offset)
            return
        headers = [*record_headers(record), *death_headers(place, offset, reason)]
        self._forwarder.forward(
            place,
            offset,
            lambda: Outgoing(
                Destination(topic, self._topics.ensure(topic, DEAD)),
                record.value() or b"",
                headers,
                _key(record),
            ),
        )


def death_headers(place: Place, offset: int | None, reason: str) -> RecordHeaders:
    """What a dead letter says of its end."""
    where = f"{place[0]}[{place[1]}]" + ("" if offset is None else f"@{offset}")
    return [
        ("dead-reason", reason),
        ("dead-from", where),
        ("dead-at", datetime.now(UTC).isoformat()),
    ]


def _whence(record: Record) -> tuple[Place, int]:
    topic, partition, offset = record.topic(), record.partition(), record.offset()
    assert topic is not None
    assert partition is not None
    assert offset is not None
    return (topic, partition), offset


def _key(record: Record) -> bytes | None:
    key = record.key()
    return key.encode() if isinstance(key, str) else key
