"""The bindings of durable queues, which all processes share: a compacted topic in Kafka.

Each binding is a record, so that `kcat` reads it: its key is the JSON array
``[exchange, routing key, queue]``, its value ``{"type": "topic"}``, the exchange's type. A record
without a value takes the binding back.

A process reads the topic when it first declares an exchange, and again, as far as it grew, before
it binds or unbinds. From its first message to a named exchange on, a thread follows the topic;
what another process binds reaches it within milliseconds.
"""

import json
import logging
import threading
import time
from functools import partial
from typing import Any, Final

from confluent_kafka import KafkaError, TopicPartition
from confluent_kafka import Message as Record

from kafka_transport.admin import REQUEST_SECONDS
from kafka_transport.bindings import Binding, Bindings
from kafka_transport.clients import Consumer
from kafka_transport.config import CONSUMER_PROPERTIES, Options, for_consumer
from kafka_transport.errors import BrokerUnavailable, KafkaTransportError, of_no_group
from kafka_transport.native import Lock, Thread, off_hub
from kafka_transport.publisher import Destination, Outgoing, Publisher
from kafka_transport.topics import Shape, Topics

__all__ = ["SharedBindings"]

logger = logging.getLogger(__name__)

#: One partition keeps the order; compaction keeps the last record of each key.
SHAPE: Final = Shape(1, {"cleanup.policy": "compact"})

#: Seconds for which the thread that follows waits without a look around.
FOLLOW_SECONDS: Final = 5.0

#: An idle topic is asked for news this seldom; news are answered at once (long poll).
FOLLOW_PROPERTIES: Final[dict[str, Any]] = {"fetch.wait.max.ms": 10_000}

#: Reading to the end: the end is told at once, not when the long poll is over.
READ_PROPERTIES: Final[dict[str, Any]] = {"fetch.wait.max.ms": 10, "enable.partition.eof": True}


class SharedBindings:
    """Every method may be called from any thread. Without a topic (`""`) it is this process' own.

    What is known here follows the order of the topic: a record is taken only once, and none that
    is older than what was read already (`_next`).
    """

    def __init__(
        self, properties: dict[str, Any], options: Options, topics: Topics, publisher: Publisher
    ) -> None:
        self._properties: Final[dict[str, Any]] = {
            **for_consumer(properties),
            **CONSUMER_PROPERTIES,
            "auto.offset.reset": "earliest",
            # No group is joined, yet librdkafka wants a name for one.
            "group.id": "kafka_transport.bindings",
        }
        self._given: Final = dict(options.kafka_consumer_config)
        name = options.bindings_topic
        self._topic: Final = options.topic_prefix + name if name else ""
        self._topics: Final = topics
        self._publisher: Final = publisher
        self._known: Final = Bindings()
        #: Held while the topic is read to its end; never by the thread that follows.
        self._reading: Final = threading.RLock()
        #: Held for a moment to take a record.
        self._lock: Final = Lock()
        #: Of each partition, the offset of the first record that was not read yet.
        self._next: Final[dict[int, int]] = {}
        self._loaded = not self._topic
        self._following = not self._topic

    @property
    def version(self) -> int:
        """Another number after each change."""
        return self._known.version

    def kind(self, exchange: str) -> str:
        """The exchange's type; `direct` for one that was never declared."""
        return self._known.kind(exchange)

    def declare_exchange(self, exchange: str, kind: str) -> None:
        """Gives an exchange its type; raises as `Bindings.declare_exchange`."""
        if exchange and not self._loaded and self._topics.exists(self._topic):
            self._catch_up()
        self._known.declare_exchange(exchange, kind)

    def delete_exchange(self, exchange: str) -> None:
        """Drops the exchange; returns once all processes can know it."""
        self._catch_up()
        self._write(dict.fromkeys(self._known.of_exchange(exchange)))
        self._known.delete_exchange(exchange)

    def bind(self, binding: Binding) -> None:
        """Adds a binding; nothing is written if it is there."""
        self._catch_up()
        if binding not in self._known.of_exchange(binding.exchange):
            self._write({binding: self._known.kind(binding.exchange)})
            self._known.bind(binding)

    def unbind(self, binding: Binding) -> None:
        """Takes a binding back, if it is there."""
        self._catch_up()
        if binding in self._known.of_exchange(binding.exchange):
            self._write({binding: None})
            self._known.unbind(binding)

    def delete_queue(self, queue: str) -> None:
        """Takes all bindings of a queue back."""
        self._catch_up()
        self._write(dict.fromkeys(self._known.of_queue(queue)))
        self._known.delete_queue(queue)

    def queues(self, exchange: str, routing_key: str) -> list[str]:
        """The queues that get what is published to `exchange` under `routing_key`, each once."""
        if not self._following:
            self._follow()
        return self._known.queues(exchange, routing_key)

    def _write(self, changes: dict[Binding, str | None]) -> None:
        """Returns once the broker has them; None takes a binding back."""
        if not self._topic or not changes:
            return
        to = Destination(self._topic, self._topics.ensure(self._topic, SHAPE))
        records = []
        for binding, kind in changes.items():
            key = json.dumps([binding.exchange, binding.routing_key, binding.queue]).encode()
            value = None if kind is None else json.dumps({"type": kind}).encode()
            records.append(Outgoing(to, value, [], key))
        self._publisher.store(records)

    def _catch_up(self) -> None:
        """Reads what was written until now.

        Raises:
            KafkaTransportError: The topic cannot be made or read.
        """
        if not self._topic:
            return
        with self._reading:
            try:
                self._topics.ensure(self._topic, SHAPE)
                ends = self._topics.end_offsets(self._topic)
                behind = [end for end in ends if end.offset > self._next.get(end.partition, 0)]
                if behind:
                    off_hub(partial(self._read, behind))
            except BrokerUnavailable:
                raise
            except KafkaTransportError as error:
                raise KafkaTransportError(
                    f"{error} (it keeps what queues are bound to; with bindings_topic='' each "
                    "process knows its own bindings alone)"
                ) from error
            self._loaded = True

    def _read(self, behind: list[TopicPartition]) -> None:
        consumer = Consumer(self._properties | self._given | READ_PROPERTIES)
        try:
            consumer.assign(self._positions([end.partition for end in behind]))
            left = {end.partition for end in behind}
            deadline = time.monotonic() + REQUEST_SECONDS
            while left:
                record = consumer.poll(0.1)
                error = None if record is None else record.error()
                if record is not None and error is None:
                    self._take(record)
                elif record is not None and _is_end(error):
                    left.discard(record.partition())
                    self._next[int(record.partition() or 0)] = int(record.offset() or 0)
                elif time.monotonic() > deadline:
                    why = error.str() if error else "no answer"
                    raise BrokerUnavailable(f"Kafka did not give topic {self._topic!r}: {why}")
        finally:
            consumer.close()

    def _positions(self, partitions: list[int]) -> list[TopicPartition]:
        return [TopicPartition(self._topic, p, self._next.get(p, 0)) for p in partitions]

    def _follow(self) -> None:
        with self._reading:
            if self._following:
                return
            self._catch_up()
            Thread(target=self._run, name="kafka-bindings").start()
            self._following = True

    def _run(self) -> None:
        consumer = Consumer(self._properties | FOLLOW_PROPERTIES | self._given)
        partitions = range(self._topics.ensure(self._topic, SHAPE))
        consumer.assign(self._positions(list(partitions)))
        # As long as the process lives, as the cluster's other clients.
        while True:
            # Not poll(): it looks for signals five times a second, however long it may wait.
            for record in consumer.consume(1, FOLLOW_SECONDS):
                error = record.error()
                if error is None:
                    self._take(record)
                elif not _is_end(error) and not of_no_group(error):
                    logger.warning("Kafka, bindings: %s", error.str())

    def _take(self, record: Record) -> None:
        partition, offset = int(record.partition() or 0), int(record.offset() or 0)
        with self._lock:
            if offset < self._next.get(partition, 0):
                return
            self._next[partition] = offset + 1
            try:
                binding = Binding(*json.loads(record.key() or b""))
                value = record.value()
                kind = None if value is None else str(json.loads(value)["type"])
            except (ValueError, TypeError, LookupError) as problem:
                logger.warning("skipped offset %d of %s: %r", offset, self._topic, problem)
                return
            if kind is None:
                self._known.unbind(binding)
            else:
                self._known.bind(binding, kind)


def _is_end(error: KafkaError | None) -> bool:
    return error is not None and error.code() == KafkaError._PARTITION_EOF  # noqa: SLF001
