"""Transient queues: what is published to an exchange, heard by every process that has such a queue.

There is no topic per queue and no consumer group: the exchange's topic is read from its end, which
is noted when the queue is declared, and each message is matched with the bindings on this side.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection
from typing import Any, Final

from confluent_kafka import KafkaError, TopicPartition
from confluent_kafka import Message as Record

from kafka_transport.clients import Consumer
from kafka_transport.config import CONSUMER_PROPERTIES, Options, for_tail
from kafka_transport.delivery import Delivery
from kafka_transport.errors import KafkaTransportError, not_authorized, of_no_group
from kafka_transport.inbox import Inbox
from kafka_transport.native import Lock, Signal, Thread
from kafka_transport.wire import Envelope, decode

__all__ = ["Tail"]

logger = logging.getLogger(__name__)

#: Seconds until one more topic to be followed is noticed: a tenth of the time since the last one,
#: between these. One seldom comes alone; the first is noticed at once.
SHORTEST_SECONDS: Final = 0.05
LONGEST_SECONDS: Final = 2.0

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
        self._consumer: Final = Consumer(
            for_tail(properties, options) | TAIL_PROPERTIES | {"group.id": "kafka_transport.tail"}
        )
        self._lock: Final = Lock()
        self._wanted: Final[dict[str, list[TopicPartition]]] = {}
        self._followed_at = time.monotonic()
        #: A topic is to be followed, or it is the end.
        self._news: Final = Signal()
        self._stopping: Final = threading.Event()
        self._thread: Final = Thread(target=self._run, name="kafka-tail")
        self._thread.start()

    def follow(self, topic: str, start: list[TopicPartition]) -> None:
        """Reads `topic` from these offsets on, unless it is read already."""
        with self._lock:
            self._wanted.setdefault(topic, start)
        self._followed_at = time.monotonic()
        self._news.set()

    def leave_all_but(self, topics: set[str]) -> None:
        """Reads no other topics any more."""
        with self._lock:
            for topic in self._wanted.keys() - topics:
                del self._wanted[topic]

    def follows(self, topic: str) -> bool:
        """Whether `topic` is read."""
        with self._lock:
            return topic in self._wanted

    def leave(self) -> None:
        """Ends the thread soon."""
        self._stopping.set()
        self._news.set()

    def close(self, timeout: float = 5.0) -> None:
        """`leave`, and wait until it is done."""
        self.leave()
        self._thread.join(timeout)

    def _run(self) -> None:
        following: dict[str, list[TopicPartition]] = {}
        try:
            while not self._stopping.is_set():
                self._assign(following)
                self._forget_expired()
                if self._inbox.waiting() >= MAX_WAITING:
                    self._stopping.wait(SHORTEST_SECONDS)
                    continue
                # Not poll(): it looks for signals five times a second, however long it may wait.
                first = self._consumer.consume(1, self._patience(following))
                if first:
                    self._receive([*first, *self._consumer.consume(BATCH, 0)])
        except Exception:
            logger.exception("the Kafka tail failed")
            self._on_failure(KafkaError(KafkaError._FAIL))  # noqa: SLF001
        finally:
            self._consumer.close()

    def _patience(self, following: Collection[str]) -> float:
        if not following:
            # There is nothing to be read; librdkafka's log lines are taken all the same.
            self._news.wait(LONGEST_SECONDS)
            self._news.clear()
            return 0.0
        since = (time.monotonic() - self._followed_at) / 10
        return min(max(since, SHORTEST_SECONDS), LONGEST_SECONDS)

    def _assign(self, following: dict[str, list[TopicPartition]]) -> None:
        with self._lock:
            wanted = dict(self._wanted)
        for topic in following.keys() - wanted.keys():
            self._consumer.incremental_unassign(following.pop(topic))
        for topic in wanted.keys() - following.keys():
            following[topic] = wanted[topic]
            self._consumer.incremental_assign(wanted[topic])

    def _receive(self, records: list[Record]) -> None:
        deliveries: list[Delivery] = []
        for record in records:
            error = record.error()
            if error is not None and of_no_group(error):
                continue
            if error is not None:
                denied = not_authorized(error, "READ", topic=record.topic() or "")
                if denied is not None or error.fatal():
                    self._on_failure(denied or error)
                else:
                    logger.warning("Kafka: %s", error.str())
                continue
            try:
                envelope = decode(record)
            except ValueError as problem:
                logger.warning("skipped a record of %s: %s", record.topic(), problem)
                continue
            deliveries += self._deliveries_of(envelope)
        if deliveries:
            self._inbox.put(deliveries)
