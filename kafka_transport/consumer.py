"""The consumer of durable queues: one member of the consumer group for each connection.

Only the polling thread touches the librdkafka consumer: a call from another thread waits until
poll() returns, and starves beside a thread that polls all the time. Other threads leave their
wishes (topics, acks) under the lock, and the polling thread finds them within `BUSY_SECONDS`.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

from confluent_kafka import OFFSET_INVALID, KafkaError, KafkaException, TopicPartition
from confluent_kafka import Consumer as BareConsumer
from confluent_kafka import Message as Record

from kafka_transport.acks import Commit, PartitionAcks
from kafka_transport.clients import Consumer
from kafka_transport.config import Options, for_consumer
from kafka_transport.inbox import Delivery, Inbox
from kafka_transport.wire import decode

__all__ = ["GroupConsumer"]

logger = logging.getLogger(__name__)

#: Seconds that poll() may wait while acks are expected; the delay of a commit.
BUSY_SECONDS: Final = 0.01

#: Seconds that poll() may wait with nothing running.
IDLE_SECONDS: Final = 0.1

#: Records taken over at a time.
BATCH: Final = 500

#: Seconds after which a commit that was not answered is sent again.
COMMIT_SECONDS: Final = 5.0

#: A member that vanished is given up after six seconds, the shortest that brokers allow by
#: default (`group.min.session.timeout.ms`). The newer protocol (KIP-848) is not used as its
#: timeout is the broker's, 45 s by default, and a joining member waited 5 s in our measurement.
GROUP_PROPERTIES: Final[dict[str, Any]] = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "allow.auto.create.topics": False,
    "partition.assignment.strategy": "cooperative-sticky",
    "session.timeout.ms": 6000,
    "heartbeat.interval.ms": 2000,
    "fetch.queue.backoff.ms": 10,
    "fetch.error.backoff.ms": 50,
}

Place = tuple[str, int]


class GroupConsumer:
    """Polls in a thread of its own, pauses partitions when enough is waiting, commits acks."""

    def __init__(
        self,
        properties: dict[str, Any],
        options: Options,
        inbox: Inbox,
        on_failure: Callable[[KafkaError], None],
    ) -> None:
        self._options: Final = options
        self._inbox: Final = inbox
        self._on_failure: Final = on_failure
        self._lock: Final = threading.Lock()
        self._acked: Final = threading.Condition(self._lock)
        # Under the lock: what other threads read or write.
        self._topics: dict[str, str] = {}
        # Cancelled and not yet given back. Records skipped meanwhile come again only with a new
        # assignment, so a topic consumed anew waits until it has left this set.
        self._closing: Final[set[str]] = set()
        self._acks: Final[dict[Place, PartitionAcks]] = {}
        self._changed: Final[set[Place]] = set()
        self._stopping = False
        # The polling thread's own.
        self._assigned: Final[set[Place]] = set()
        self._paused: set[Place] = set()
        self._subscribed: frozenset[str] = frozenset()
        self._committing: dict[Place, Commit] = {}
        self._commit_sent_at = 0.0
        self._consumer: Final = Consumer(
            for_consumer(properties)
            | GROUP_PROPERTIES
            | {
                "group.id": options.group_id,
                "auto.offset.reset": options.auto_offset_reset,
                "on_commit": self._on_commit,
            }
            | dict(options.kafka_consumer_config)
        )
        self._thread: Final = threading.Thread(target=self._run, name="kafka-consumer", daemon=True)
        self._thread.start()

    def consume(self, topic: str, queue: str) -> None:
        """Delivers what is in `topic` as messages of `queue` from now on."""
        with self._lock:
            self._topics = {**self._topics, topic: queue}

    def cancel(self, topic: str) -> None:
        """Delivers nothing more of `topic`.

        What was not seen yet goes back to the group, once the running messages are acked: given
        away earlier, they would run a second time elsewhere.
        """
        with self._lock:
            self._topics = {t: q for t, q in self._topics.items() if t != topic}
            self._closing.add(topic)
        self._inbox.discard(lambda d: d.origin is not None and d.origin[0] == topic)

    def close(self, timeout: float = 5.0) -> None:
        """Commits what was acked and leaves the group, so that its partitions move at once."""
        with self._lock:
            self._stopping = True
            self._acked.notify_all()
        self._thread.join(timeout)
        if self._thread.is_alive():
            logger.warning("the consumer did not leave group %r in time", self._options.group_id)

    # The polling thread.

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._subscribe()
                self._receive(self._poll())
                self._commit()
                self._regulate()
            self._commit_now(self._assigned)
        except Exception:
            logger.exception("the Kafka consumer failed")
            self._on_failure(KafkaError(KafkaError._FAIL))  # noqa: SLF001
        finally:
            self._consumer.close()

    def _poll(self) -> list[Record]:
        with self._lock:
            busy = self._changed or any(acks.running for acks in self._acks.values())
        first = self._consumer.poll(BUSY_SECONDS if busy else IDLE_SECONDS)
        # consume() waits its whole timeout for a full batch; after a poll() it need not wait.
        return [] if first is None else [first, *self._consumer.consume(BATCH, 0)]

    def _receive(self, records: Iterable[Record]) -> None:
        deliveries: list[Delivery] = []
        for record in records:
            error = record.error()
            if error is not None:
                self._report(error)
                continue
            delivery = self._delivery(record)
            if delivery is not None:
                deliveries.append(delivery)
        if deliveries:
            self._inbox.put(deliveries, control=False)

    def _delivery(self, record: Record) -> Delivery | None:
        topic, partition, offset = record.topic(), record.partition(), record.offset()
        assert topic is not None
        assert partition is not None
        assert offset is not None
        place = (topic, partition)
        with self._lock:
            queue = self._topics.get(topic)
            if queue is None or topic in self._closing:
                return None
            self._changed.add(place)
            if not self._acks[place].receive(offset, record.timestamp()[1]):
                return None
        try:
            envelope = decode(record)
        except ValueError as error:
            logger.error(  # noqa: TRY400
                "dropped the record at offset %d of %s[%d], which is no message: %s",
                offset, topic, partition, error,
            )  # fmt: skip
            self._settle(place, offset)
            return None
        return Delivery(
            queue=queue,
            envelope=envelope,
            origin=place,
            settle=lambda: self._settle(place, offset),
            drop=lambda: self._forget(place, offset),
        )

    def _report(self, error: KafkaError) -> None:
        if error.fatal():
            self._on_failure(error)
        elif error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001
            logger.warning("Kafka: %s", error.str())

    def _subscribe(self) -> None:
        with self._lock:
            held = {topic for topic, _ in self._assigned}
            self._closing.intersection_update(held | self._subscribed)
            running = {topic for (topic, _), acks in self._acks.items() if acks.running}
            wanted = frozenset(self._topics) - self._closing
            wanted |= self._subscribed & self._closing & running
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
        with self._lock:
            hold = {
                place
                for place in self._assigned
                if hold_all
                or place[0] in self._closing
                or self._acks[place].ahead >= self._options.max_ahead
            }
        if hold == self._paused:
            return
        if hold - self._paused:
            self._consumer.pause([TopicPartition(*place) for place in hold - self._paused])
        if self._paused - hold:
            self._consumer.resume([TopicPartition(*place) for place in self._paused - hold])
        self._paused = hold

    # Commits.

    def _commit(self) -> None:
        """Sends what changed; one commit is under way at a time, so that many acks share one."""
        now = time.monotonic()
        if self._committing and now - self._commit_sent_at < COMMIT_SECONDS:
            return
        with self._lock:
            self._changed.update(self._committing)
            commits = self._take_changed(self._assigned)
        self._committing = commits
        if commits:
            self._commit_sent_at = now
            try:
                self._consumer.commit(offsets=_as_offsets(commits), asynchronous=True)
            except KafkaException as error:
                logger.info("a commit is sent again: %s", error.args[0].str())

    def _on_commit(self, error: KafkaError | None, partitions: list[TopicPartition]) -> None:
        sent, self._committing = self._committing, {}
        with self._lock:
            for tp in partitions:
                place = (tp.topic, tp.partition)
                commit = sent.get(place)
                if commit is None:
                    continue
                if error is None and tp.error is None and place in self._acks:
                    self._acks[place].committed(commit)
                elif place in self._assigned:
                    self._changed.add(place)
        if error is not None:
            logger.info("a commit is sent again: %s", error.str())

    def _commit_now(self, places: Iterable[Place]) -> None:
        """Commits and waits for the answer: the partitions are about to go."""
        with self._lock:
            self._changed.update(places)
            commits = self._take_changed(set(places))
        self._committing = {}
        if not commits:
            return
        try:
            self._consumer.commit(offsets=_as_offsets(commits), asynchronous=False)
        except KafkaException as error:
            logger.warning(
                "acks were not committed, their messages will come again: %s", error.args[0].str()
            )

    def _take_changed(self, places: set[Place]) -> dict[Place, Commit]:
        commits = {
            place: commit
            for place in self._changed & places
            if (commit := self._acks[place].to_commit()) is not None
        }
        self._changed.clear()
        return commits

    # Callbacks of the group; librdkafka calls them inside poll() and close().

    def _on_assign(self, consumer: BareConsumer, partitions: list[TopicPartition]) -> None:
        try:
            stored = consumer.committed(partitions, timeout=COMMIT_SECONDS)
        except KafkaException as error:
            logger.warning("what was acked out of order may run again: %s", error.args[0].str())
            stored = partitions
        with self._lock:
            for tp in stored:
                place = (tp.topic, tp.partition)
                offset = tp.offset if tp.offset > OFFSET_INVALID and tp.offset >= 0 else None
                self._acks.setdefault(place, PartitionAcks()).assign(offset, tp.metadata or "")
                self._assigned.add(place)
                self._changed.add(place)
        logger.info("got %s", _names(partitions))
        consumer.incremental_assign(partitions)
        # librdkafka remembers over a rebalance that a partition was paused.
        consumer.resume(partitions)

    def _on_revoke(self, consumer: BareConsumer, partitions: list[TopicPartition]) -> None:
        places = {(tp.topic, tp.partition) for tp in partitions}
        self._withdraw(places)
        deadline = time.monotonic() + self._options.revoke_timeout
        with self._lock:
            while not self._stopping and any(self._acks[place].running for place in places):
                if not self._acked.wait(deadline - time.monotonic()):
                    break
            left = sum(self._acks[place].running for place in places)
        self._commit_now(places)
        self._assigned.difference_update(places)
        logger.info("gave back %s", _names(partitions))
        if left and not self._stopping:
            logger.warning(
                "%d running messages go to another member of group %r as well: they did not end "
                "within revoke_timeout (%g s)",
                left, self._options.group_id, self._options.revoke_timeout,
            )  # fmt: skip
        consumer.incremental_unassign(partitions)

    def _on_lost(self, consumer: BareConsumer, partitions: list[TopicPartition]) -> None:
        places = {(tp.topic, tp.partition) for tp in partitions}
        self._withdraw(places)
        self._assigned.difference_update(places)
        logger.warning("lost %s: the group had no sign of life from here", _names(partitions))
        consumer.incremental_unassign(partitions)

    def _withdraw(self, places: set[Place]) -> None:
        """Takes back what no consumer has seen; it is delivered to whoever has the partition."""
        self._paused -= places
        self._inbox.discard(lambda d: d.origin in places)

    # Any thread.

    def _settle(self, place: Place, offset: int) -> None:
        with self._lock:
            self._acks[place].ack(offset)
            self._changed.add(place)
            self._acked.notify_all()

    def _forget(self, place: Place, offset: int) -> None:
        with self._lock:
            self._acks[place].forget(offset)


def _as_offsets(commits: dict[Place, Commit]) -> list[TopicPartition]:
    return [
        TopicPartition(topic, partition, commit.offset, commit.metadata)
        for (topic, partition), commit in commits.items()
    ]


def _names(partitions: list[TopicPartition]) -> str:
    return ", ".join(sorted(f"{tp.topic}[{tp.partition}]" for tp in partitions)) or "nothing"
