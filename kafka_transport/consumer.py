"""The consumer of durable queues: one member of the consumer group for each connection.

Only the polling thread touches the librdkafka consumer: a call from another thread waits until
poll() returns, and starves beside a thread that polls all the time. Other threads leave their
wishes (topics, acks) under a lock, and the polling thread finds them within `BUSY_SECONDS`.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from confluent_kafka import Consumer as BareConsumer
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka import Message as Record

from kafka_transport.clients import Consumer
from kafka_transport.cluster import Cluster
from kafka_transport.commits import Commits
from kafka_transport.config import CONSUMER_PROPERTIES, Options, for_consumer
from kafka_transport.inbox import Inbox
from kafka_transport.intake import Intake
from kafka_transport.partitions import Partitions, Place

__all__ = ["GroupConsumer"]

logger = logging.getLogger(__name__)

#: Seconds that poll() may wait while acks are expected; the delay of a commit.
BUSY_SECONDS: Final = 0.01

#: Seconds that poll() may wait with nothing running.
IDLE_SECONDS: Final = 0.1

#: Seconds that the group's coordinator may take to say what was committed.
COMMITTED_SECONDS: Final = 5.0

#: Records taken over at a time.
BATCH: Final = 500

#: A member that vanished is given up after six seconds, the shortest that brokers allow by
#: default (`group.min.session.timeout.ms`). The newer protocol (KIP-848) is not used as its
#: timeout is the broker's, 45 s by default, and a joining member waited 5 s in our measurement.
GROUP_PROPERTIES: Final[dict[str, Any]] = {
    **CONSUMER_PROPERTIES,
    "partition.assignment.strategy": "cooperative-sticky",
    "session.timeout.ms": 6000,
    "heartbeat.interval.ms": 2000,
}


class GroupConsumer:
    """Polls in a thread of its own, pauses partitions when enough is waiting, commits acks."""

    def __init__(  # noqa: PLR0917  # made in one place
        self,
        group_id: str,
        properties: dict[str, Any],
        options: Options,
        inbox: Inbox,
        cluster: Cluster,
        on_failure: Callable[[KafkaError], None],
    ) -> None:
        self._group_id: Final = group_id
        self._options: Final = options
        self._inbox: Final = inbox
        self._on_failure: Final = on_failure
        self._lock: Final = threading.Lock()
        # Under the lock. Topics to be read, each with the queue that it is.
        self._topics: dict[str, str] = {}
        # Cancelled and not yet given back. Records skipped meanwhile come again only with a new
        # assignment, so a topic consumed anew waits until it has left this set.
        self._closing: Final[set[str]] = set()
        self._stopping = False
        # The polling thread's own.
        self._assigned: Final[set[Place]] = set()
        self._paused: set[Place] = set()
        self._subscribed: frozenset[str] = frozenset()
        self._partitions: Final = Partitions()
        self._intake: Final = Intake(options, self._partitions, cluster)
        self._commits: Final = Commits(self._partitions)
        self._consumer: Final = Consumer(
            for_consumer(properties)
            | GROUP_PROPERTIES
            | {
                "group.id": group_id,
                "auto.offset.reset": options.auto_offset_reset,
                "on_commit": self._commits.on_commit,
            }
            | dict(options.kafka_consumer_config)
        )
        self._thread: Final = threading.Thread(target=self._run, name="kafka-consumer", daemon=True)
        self._thread.start()

    def consume(self, topic: str, queue: str) -> None:
        """Delivers what is in `topic` as messages of `queue` from now on."""
        with self._lock:
            self._topics = {**self._topics, topic: queue}

    def cancel(self, queue: str) -> None:
        """Delivers nothing more of `queue`.

        What was not seen yet goes back to the group, once the running messages are acked: given
        away earlier, they would run a second time elsewhere.
        """
        with self._lock:
            self._closing.update(topic for topic, q in self._topics.items() if q == queue)
            self._topics = {topic: q for topic, q in self._topics.items() if q != queue}

    def leave(self) -> None:
        """Commits what was acked and leaves the group, so that its partitions move at once."""
        self._stopping = True
        self._partitions.wake()

    def close(self, timeout: float = 5.0) -> None:
        """`leave`, and wait until it is done."""
        self.leave()
        self._thread.join(timeout)
        if self._thread.is_alive():
            logger.warning("the consumer did not leave group %r in time", self._group_id)

    # The polling thread.

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._subscribe()
                self._receive(self._poll())
                self._intake.forward_due(time.time())
                self._commits.send(self._consumer, self._assigned)
                self._regulate()
            self._commits.send_and_wait(self._consumer, self._assigned)
        except Exception:
            logger.exception("the Kafka consumer failed")
            self._on_failure(KafkaError(KafkaError._FAIL))  # noqa: SLF001
        finally:
            self._consumer.close()

    def _poll(self) -> list[Record]:
        first = self._consumer.poll(
            BUSY_SECONDS if self._partitions.busy(self._intake.waiting_places()) else IDLE_SECONDS
        )
        # consume() waits its whole timeout for a full batch; after a poll() it need not wait.
        return [] if first is None else [first, *self._consumer.consume(BATCH, 0)]

    def _receive(self, records: list[Record]) -> None:
        if not records:
            return
        with self._lock:
            queues = {t: q for t, q in self._topics.items() if t not in self._closing}
        deliveries = []
        for record in records:
            error = record.error()
            if error is not None:
                self._report(error)
                continue
            queue = queues.get(record.topic() or "")
            delivery = self._intake.take(record, queue) if queue is not None else None
            if delivery is not None:
                deliveries.append(delivery)
        if deliveries:
            self._inbox.put(deliveries, control=False)

    def _report(self, error: KafkaError) -> None:
        if error.fatal():
            self._on_failure(error)
        elif error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001
            logger.warning("Kafka: %s", error.str())

    def _subscribe(self) -> None:
        with self._lock:
            closing = frozenset(self._closing)
        if closing:
            self._inbox.discard(lambda d: d.origin is not None and d.origin[0] in closing)
            self._intake.drop([place for place in self._assigned if place[0] in closing])
        running = self._partitions.topics_with_running()
        with self._lock:
            self._closing.intersection_update({t for t, _ in self._assigned} | self._subscribed)
            closing = frozenset(self._closing)
            wanted = frozenset(self._topics) - closing | self._subscribed & closing & running
        if wanted == self._subscribed:
            return
        self._subscribed = wanted
        if wanted:
            self._consumer.subscribe(
                sorted(wanted),
                on_assign=self._on_assign,
                on_revoke=self._on_revoke,
                on_lost=self._on_lost,
            )
        else:
            self._consumer.unsubscribe()

    def _regulate(self) -> None:
        """Pauses what has enough waiting, resumes what has room."""
        waiting = self._inbox.waiting(control=False)
        full = self._options.max_buffered
        hold_all = waiting >= full or (bool(self._paused) and waiting > full // 2)
        delayed = self._intake.waiting_places()
        hold = {
            place
            for place in self._assigned
            if (hold_all and not self._intake.is_delay(place))
            or place in delayed
            or place[0] in self._closing
            or self._partitions.ahead(place) >= self._options.max_ahead
        }
        if hold == self._paused:
            return
        if hold - self._paused:
            self._consumer.pause([TopicPartition(*place) for place in hold - self._paused])
        if self._paused - hold:
            self._consumer.resume([TopicPartition(*place) for place in self._paused - hold])
        self._paused = hold

    # Callbacks of the group; librdkafka calls them inside poll() and close().

    def _on_assign(self, consumer: BareConsumer, partitions: list[TopicPartition]) -> None:
        try:
            stored = consumer.committed(partitions, timeout=COMMITTED_SECONDS)
        except KafkaException as error:
            logger.warning("what was acked out of order may run again: %s", error.args[0].str())
            stored = partitions
        for tp in stored:
            place = (tp.topic, tp.partition)
            self._partitions.assign(place, tp.offset if tp.offset >= 0 else None, tp.metadata or "")
            self._assigned.add(place)
        logger.info("got %s", _names(partitions))
        consumer.incremental_assign(partitions)
        # librdkafka remembers over a rebalance that a partition was paused.
        consumer.resume(partitions)

    def _on_revoke(self, consumer: BareConsumer, partitions: list[TopicPartition]) -> None:
        places = self._withdraw(partitions)
        left = self._partitions.wait_until_idle(
            places, self._options.revoke_timeout, give_up=lambda: self._stopping
        )
        self._commits.send_and_wait(consumer, places)
        self._assigned.difference_update(places)
        logger.info("gave back %s", _names(partitions))
        if left and not self._stopping:
            logger.warning(
                "%d running messages go to another member of group %r as well: they did not end "
                "within revoke_timeout (%g s)",
                left, self._group_id, self._options.revoke_timeout,
            )  # fmt: skip
        consumer.incremental_unassign(partitions)

    def _on_lost(self, consumer: BareConsumer, partitions: list[TopicPartition]) -> None:
        self._assigned.difference_update(self._withdraw(partitions))
        logger.warning("lost %s: the group had no sign of life from here", _names(partitions))
        consumer.incremental_unassign(partitions)

    def _withdraw(self, partitions: list[TopicPartition]) -> set[Place]:
        """Takes back what no consumer has seen; it is delivered to whoever has the partition."""
        places = {(tp.topic, tp.partition) for tp in partitions}
        self._paused -= places
        self._inbox.discard(lambda d: d.origin in places)
        self._intake.drop(places)
        return places


def _names(partitions: list[TopicPartition]) -> str:
    return ", ".join(sorted(f"{tp.topic}[{tp.partition}]" for tp in partitions)) or "nothing"
