"""What becomes of a record that came in: delivered, kept until it is due, expired, or dead."""

import logging
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import partial
from typing import Final

from confluent_kafka import Message as Record

from kafka_transport.arguments import QueueArguments
from kafka_transport.cluster import Cluster
from kafka_transport.config import Options
from kafka_transport.delays import Waiting, due_time, level_for
from kafka_transport.delivery import Delivery
from kafka_transport.expiry import is_expired
from kafka_transport.forwarding import Forwarder
from kafka_transport.lanes import QueueTopics
from kafka_transport.partitions import Partitions, Place
from kafka_transport.publisher import Destination, Outgoing
from kafka_transport.topics import DEAD, DELAY, dead_letter_topic
from kafka_transport.wire import Envelope, RecordHeaders, decode, record_headers

__all__ = ["Intake", "death_headers"]

logger = logging.getLogger(__name__)

#: Stands in a delivery whose record nobody has read yet.
UNREAD: Final = Envelope(b"")


class Intake:
    """Records of one queue. `open` and what follows from it is for any thread, the rest the poller's."""

    def __init__(  # noqa: PLR0917  # made in one place
        self,
        queue: str,
        topics: QueueTopics,
        arguments: QueueArguments,
        options: Options,
        partitions: Partitions,
        cluster: Cluster,
    ) -> None:
        self._queue: Final = queue
        self._queue_topics: Final = topics
        self._lanes: Final = {topic: lane for lane, (topic, _) in enumerate(topics.lanes)}
        self._arguments: Final = arguments
        self._options: Final = options
        self._partitions: Final = partitions
        self._topics: Final = cluster.topics
        self._forwarder: Final = Forwarder(cluster.publisher, partitions.settle)
        self._waiting: Final = Waiting()
        self.begin: Final = partitions.begin
        self.settle: Final = partitions.settle
        self.forget: Final = partitions.forget

    def take(self, record: Record, place: Place) -> Delivery | None:
        """The delivery of a record, or None if there is none now."""
        offset = record.offset()
        assert offset is not None
        before = self._partitions.receive(place, offset, record.timestamp()[1])
        if before is None:
            return None
        lane = self._lanes.get(place[0])
        if lane is None:
            self._waiting.add(place, record)
            return None
        return Delivery(
            self._queue, UNREAD, place, offset, self, record, lane, _key(record), before
        )

    def forward_due(self, now: float) -> None:
        """Sends on what has waited long enough, and what could not be sent before."""
        self._forwarder.retry()
        for place, record in self._waiting.take_due(now):
            offset = record.offset()
            assert offset is not None
            self._forwarder.forward(place, offset, partial(self._next_step, record, now))

    def waiting_places(self) -> set[Place]:
        """Delay partitions of which enough was read for now."""
        return self._waiting.places()

    def drop(self, places: Iterable[Place]) -> None:
        """These partitions go to another member."""
        gone = set(places)
        self._forwarder.drop(gone)
        for place, record in self._waiting.drop(gone):
            self._partitions.forget(place, record.offset() or 0)

    def open(self, delivery: Delivery) -> bool:
        """Reads the record of a delivery; false if it is dead or expired, and so done here."""
        record, place, offset = delivery.record, delivery.origin, delivery.offset
        assert record is not None
        assert place is not None
        try:
            envelope = decode(record)
            delivery.deliveries += int(envelope.properties.get("delivery_count") or 0)
        except (TypeError, ValueError) as error:
            self._bury(record, place, offset, f"no message: {error}")
            return False
        if is_expired(envelope, self._arguments.message_ttl):
            logger.debug("offset %d of %s[%d] has expired", offset, *place)
            self._partitions.settle(place, offset)
            return False
        before = delivery.deliveries
        if 0 < self._options.max_deliveries <= before:
            self._bury(record, place, offset, f"delivered {before} times and never acked", before)
            return False
        delivery.envelope, delivery.record = envelope, None
        return True

    def _next_step(self, record: Record, now: float) -> Outgoing:
        topic, lane = str(record.topic()), 0
        try:
            envelope = decode(record)
            due = due_time(envelope.headers) or now
            lane = self._queue_topics.lane_for(envelope.properties.get("priority"))
        except ValueError:
            due = now
        level = level_for(due - now, self._topics.ensure(topic, DELAY))
        onward = self._queue_topics.lanes[lane][0] if level is None else topic
        to = Destination(onward, self._topics.ensure(onward), level)
        return Outgoing(to, record.value() or b"", record_headers(record), _key(record))

    def _bury(
        self, record: Record, place: Place, offset: int, reason: str, deliveries: int = 0
    ) -> None:
        topic = dead_letter_topic(self._queue_topics.main)
        logger.error("offset %d of %s[%d] goes to %s: %s", offset, *place, topic, reason)
        if not self._options.dead_letters:
            self._partitions.settle(place, offset)
            return
        headers = [*record_headers(record), *death_headers(place, offset, reason, deliveries)]
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


def death_headers(place: Place, offset: int | None, reason: str, deliveries: int) -> RecordHeaders:
    """What a dead letter says of its end."""
    where = f"{place[0]}[{place[1]}]" + ("" if offset is None else f"@{offset}")
    return [
        ("dead-reason", reason),
        ("dead-from", where),
        ("dead-at", datetime.now(UTC).isoformat()),
        ("dead-deliveries", str(deliveries)),
    ]


def _key(record: Record) -> bytes | None:
    key = record.key()
    return key.encode() if isinstance(key, str) else key
