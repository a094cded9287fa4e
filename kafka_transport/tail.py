"""Transient queues: what is published to an exchange, heard by every process that has such a queue.

There is no topic per queue and no consumer group: the exchange's topic is read from its end, which
is noted when the queue is declared, and each message is matched with the bindings on this side.

librdkafka has one fetch under way at a time, for which a topic that is added waits, and looks for that
topic's leader once a second; confluent-kafka (2.16) lets nobody touch a consumer in which a thread
waits. So for topics that are added a new consumer takes over all of them, at once; the one before
ends when it wakes up. A record that both read is taken once: where the next one is expected.
"""

import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka import Message as Record

from kafka_transport.clients import Consumer
from kafka_transport.config import CONSUMER_PROPERTIES, Options, for_tail
from kafka_transport.delivery import Delivery
from kafka_transport.errors import KafkaTransportError, not_authorized, of_no_group
from kafka_transport.inbox import Inbox
from kafka_transport.native import Lock, Thread
from kafka_transport.wire import Envelope, decode

__all__ = ["Tail"]

logger = logging.getLogger(__name__)

#: Seconds until a consumer notices that another took over, or that it is the end: a tenth of its age,
#: between these.
SHORTEST_SECONDS: Final = 0.05
LONGEST_SECONDS: Final = 2.0

#: Seconds that the cluster may take to say who leads a topic; librdkafka goes on asking.
LEADER_SECONDS: Final = 2.0

BATCH: Final = 500

#: Messages that may wait for slow consumers of transient queues before reading stops.
MAX_WAITING: Final = 10_000

#: No group is joined, yet librdkafka wants a name for one.
TAIL_PROPERTIES: Final[dict[str, Any]] = {
    **CONSUMER_PROPERTIES,
    "auto.offset.reset": "latest",
}


class Tail:
    """Reads exchange topics in a thread of its own. `deliveries_of` says who wants a message.

    `forget_expired` is called now and then: queues that nobody uses may have come to their end.
    """

    def __init__(  # noqa: PLR0917  # made in one place
        self,
        properties: dict[str, Any],
        options: Options,
        inbox: Inbox,
        deliveries_of: Callable[[Envelope], list[Delivery]],
        forget_expired: Callable[[], None],
        on_failure: Callable[[KafkaError | KafkaTransportError], None],
    ) -> None:
        self._inbox: Final = inbox
        self._deliveries_of: Final = deliveries_of
        self._forget_expired: Final = forget_expired
        self._on_failure: Final = on_failure
        self._properties: Final = {
            **for_tail(properties, options),
            **TAIL_PROPERTIES,
            "group.id": "kafka_transport.tail",
        }
        self._stopping: Final = threading.Event()
        self._lock: Final = Lock()
        # Under the lock.
        self._threads: list[Thread] = []
        #: Of each topic that is read, where the next record of each partition stands.
        self._next: Final[dict[str, dict[int, int]]] = {}
        #: Who reads all of them; others end.
        self._current: Consumer | None = None
        #: Another one is about to take over, with all topics that there are by then.
        self._opening = False

    def follow(self, topic: str, start: list[TopicPartition]) -> None:
        """Reads `topic` from these offsets on, unless it is read already.

        Raises:
            InvalidOption: librdkafka knows no such property, or not with that value.
        """
        with self._lock:
            if topic in self._next:
                return
            consumer = None if self._opening else Consumer(self._properties)
            self._opening = True
            self._next[topic] = {tp.partition: tp.offset for tp in start}
            if consumer is None:
                return
            thread = Thread(target=partial(self._run, consumer), name="kafka-tail")
            self._threads = [*(t for t in self._threads if t.is_alive()), thread]
        thread.start()

    def leave_all_but(self, topics: set[str]) -> None:
        """Reads no other topics any more."""
        with self._lock:
            for topic in self._next.keys() - topics:
                del self._next[topic]

    def follows(self, topic: str) -> bool:
        """Whether `topic` is read."""
        with self._lock:
            return topic in self._next

    def leave(self) -> None:
        """Ends the threads soon."""
        self._stopping.set()

    def close(self, timeout: float = 5.0) -> None:
        """`leave`, and wait until it is done."""
        self.leave()
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _run(self, consumer: Consumer) -> None:
        began = time.monotonic()
        try:
            assigned = self._take_over(consumer)
            while self._is_current(consumer) and self._leave_rest(consumer, assigned):
                self._forget_expired()
                if self._inbox.waiting() >= MAX_WAITING:
                    self._stopping.wait(SHORTEST_SECONDS)
                    continue
                age = time.monotonic() - began
                # Not poll(): it looks for signals five times a second, however long it may wait.
                first = consumer.consume(1, min(max(age / 10, SHORTEST_SECONDS), LONGEST_SECONDS))
                if first:
                    self._receive([*first, *consumer.consume(BATCH, 0)])
        except Exception:
            logger.exception("the Kafka tail failed")
            self._on_failure(KafkaError(KafkaError._FAIL))  # noqa: SLF001
        finally:
            consumer.close()

    def _take_over(self, consumer: Consumer) -> set[str]:
        """Reads all topics from now on; which they are."""
        asked: set[str] = set()
        while True:
            with self._lock:
                wanted = self._next.keys() - asked
                if not wanted:
                    self._opening = False
                    self._current = consumer
                    places = [
                        TopicPartition(topic, partition, offset)
                        for topic, offsets in self._next.items()
                        for partition, offset in offsets.items()
                    ]
                    break
            for topic in wanted:
                try:
                    consumer.list_topics(topic, timeout=LEADER_SECONDS)
                except KafkaException as error:
                    logger.info("%s is read a moment later: %s", topic, error.args[0].str())
            asked |= wanted
        consumer.incremental_assign(places)
        return {place.topic for place in places}

    def _is_current(self, consumer: Consumer) -> bool:
        with self._lock:
            return consumer is self._current and not self._stopping.is_set()

    def _leave_rest(self, consumer: Consumer, assigned: set[str]) -> bool:
        """Reads on what is still followed; false if that is nothing."""
        with self._lock:
            left = assigned - self._next.keys()
        if left:
            consumer.incremental_unassign(
                [place for place in consumer.assignment() if place.topic in left]
            )
            assigned -= left
        return bool(assigned)

    def _receive(self, records: list[Record]) -> None:
        with self._lock:
            deliveries = [d for record in records for d in self._read(record)]
            if deliveries:
                self._inbox.put(deliveries)

    def _read(self, record: Record) -> list[Delivery]:
        topic, error = record.topic() or "", record.error()
        if error is not None:
            if of_no_group(error):
                return []
            denied = not_authorized(error, "READ", topic=topic)
            if denied is not None or error.fatal():
                self._on_failure(denied or error)
            else:
                logger.warning("Kafka: %s", error.str())
            return []
        followed = self._next.get(topic, {})
        partition, offset = int(record.partition() or 0), int(record.offset() or 0)
        # Nobody wants it any more, it was read already, or before its queue was declared again.
        if offset < followed.get(partition, offset + 1):
            return []
        followed[partition] = offset + 1
        try:
            envelope = decode(record)
        except ValueError as problem:
            logger.warning("skipped a record of %s: %s", topic, problem)
            return []
        return self._deliveries_of(envelope)
