"""The consumer of one durable queue: a member of the queue's own consumer group.

A group a queue, since cooperative-sticky balances the sum of a group's partitions: with several
topics in one group a worker may get all of one and none of another. For the same reason the group
knows the queue's own topic alone: lanes and delays follow its partitions (`lanes`), assigned and
unassigned beside them, and their commits go to the same group.

Only the polling thread touches the librdkafka consumer: a call from another thread waits until
poll() returns, and starves beside a thread that polls all the time. Acks reach it by a deque.
"""

import logging
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

from confluent_kafka import Consumer as BareConsumer
from confluent_kafka import KafkaError, TopicPartition
from confluent_kafka import Message as Record

from kafka_transport.arguments import QueueArguments
from kafka_transport.clients import Consumer
from kafka_transport.cluster import Cluster
from kafka_transport.commits import Commits
from kafka_transport.config import Options, for_consumer
from kafka_transport.delivery import oldest_first
from kafka_transport.errors import KafkaTransportError, not_authorized
from kafka_transport.flow import Flow
from kafka_transport.inbox import Inbox
from kafka_transport.intake import Intake
from kafka_transport.lanes import QueueTopics
from kafka_transport.membership import group_properties
from kafka_transport.native import Lock, Thread
from kafka_transport.partitions import Partitions, Place
from kafka_transport.starts import RESET, Starts, start_offsets, stored_offsets
from kafka_transport.statistics import statistics_properties

__all__ = ["GroupConsumer"]

logger = logging.getLogger(__name__)

#: Seconds that a look for records may wait while acks are expected; the delay of a commit.
BUSY_SECONDS: Final = 0.01

#: Seconds that it may wait while messages may come to be due.
DUE_SECONDS: Final = 0.1

#: Seconds that it may wait with nothing running: a tenth of how long nothing has come in, between
#: these. Only who leaves, is cancelled or ends a `stay` waits for it.
SHORTEST_IDLE_SECONDS: Final = 0.25
LONGEST_IDLE_SECONDS: Final = 2.0

#: Records taken over at a time.
BATCH: Final = 500


class GroupConsumer:
    """Polls in a thread of its own, pauses partitions when enough is waiting, commits acks."""

    def __init__(  # noqa: PLR0917  # made in one place
        self,
        queue: str,
        topics: QueueTopics,
        arguments: QueueArguments,
        properties: dict[str, Any],
        options: Options,
        inbox: Inbox,
        cluster: Cluster,
        on_failure: Callable[[KafkaError | KafkaTransportError], None],
        *,
        stays: float | None = None,
    ) -> None:
        self.group_id: Final = f"{options.group_id}.{topics.main}"
        self._topics: Final = topics
        self._options: Final = options
        self._inbox: Final = inbox
        key_order = options.key_order if arguments.key_order is None else arguments.key_order
        self._buffer: Final = inbox.open(queue, len(topics.lanes), key_order=key_order)
        self._on_failure: Final = on_failure
        self._stopping = False
        self._lock: Final = Lock()
        # Under the lock.
        self._cancelled = False
        self._until = None if stays is None else time.monotonic() + stays
        # The polling thread's own.
        self._assigned: Final[set[Place]] = set()
        #: When a message came in last.
        self._last_message = time.monotonic()
        self._partitions: Final = Partitions()
        self._intake: Final = Intake(queue, topics, arguments, options, self._partitions, cluster)
        self._flow: Final = Flow(self._buffer, topics, options, self._partitions, self._intake)
        self._commits: Final = Commits(self._partitions)
        # Written by the polling thread, read by others.
        self._joined = False
        self._heard = False
        self._ends: Final[dict[Place, int]] = {}
        self._consumer: Final = Consumer(
            for_consumer(properties)
            | group_properties(options, passing=stays is not None)
            | {
                "group.id": self.group_id,
                "auto.offset.reset": RESET,
                "on_commit": self._commits.on_commit,
                "enable.partition.eof": True,
            }
            | dict(options.kafka_consumer_config)
            | statistics_properties(options, "consumer")
        )
        self._thread: Final = Thread(target=self._run, name=f"kafka-consumer-{queue}")
        self._thread.start()

    def cancel(self) -> None:
        """Delivers nothing more, and leaves the group once the running messages are acked.

        Given away earlier, they would run a second time elsewhere.
        """
        with self._lock:
            self._cancelled = True

    def stay(self, seconds: float | None) -> bool:
        """Cancels itself after so many seconds, or never; false if it is cancelled already."""
        with self._lock:
            self._until = None if seconds is None else time.monotonic() + seconds
            return not (self._cancelled or self._stopping)

    def leave(self) -> None:
        """Commits what was acked and leaves the group, so that its partitions move at once."""
        self._stopping = True

    def close(self, timeout: float = 5.0) -> None:
        """`leave`, and wait until it is done."""
        self.leave()
        self._thread.join(timeout)
        if self._thread.is_alive():
            logger.warning("the consumer did not leave group %r in time", self.group_id)

    @property
    def has_left(self) -> bool:
        """Whether it is not a member any more."""
        return not self._thread.is_alive()

    def has_read_to(self, ends: dict[Place, int]) -> bool:
        """Whether what its partitions held up to these offsets came in."""
        return self._joined and all(
            self._ends.get(place, -1) >= ends.get(place, 0) for place in list(self._assigned)
        )

    # The polling thread.

    def _run(self) -> None:
        try:
            self._consumer.subscribe(
                [self._topics.main],
                on_assign=self._on_assign,
                on_revoke=self._on_revoke,
                on_lost=self._on_lost,
            )
            while not (self._stopping or self._may_leave()):
                records = self._poll()
                said = self._partitions.apply()
                if records:
                    self._receive(records)
                self._intake.forward_due(time.time())
                self._commits.send(self._consumer, self._assigned)
                if records or said or self._flow.stands or self._cancelled:
                    self._flow.regulate(self._consumer, self._assigned, cancelled=self._cancelled)
            self._discard(self._assigned)
            self._partitions.apply()
            self._commits.send_and_wait(self._consumer, self._assigned)
        except Exception:
            logger.exception("the Kafka consumer failed")
            self._on_failure(KafkaError(KafkaError._FAIL))  # noqa: SLF001
        finally:
            # What the callbacks of close() wait for has been waited for.
            self._stopping = True
            self._consumer.close()

    def _may_leave(self) -> bool:
        with self._lock:
            if self._until is not None and time.monotonic() >= self._until:
                self._cancelled = True
        if not self._cancelled:
            return False
        self._discard(self._assigned)
        self._partitions.apply()
        return not self._partitions.running

    def _poll(self) -> list[Record]:
        if self._flow.waits:
            time.sleep(BUSY_SECONDS)
            return []
        records = self._consumer.consume(BATCH, 0)
        if not records:
            # Not poll(): it looks for signals five times a second, however long it may wait.
            records = self._consumer.consume(1, self._patience())
            if records:
                # What came in together is taken together.
                records += self._consumer.consume(BATCH, 0)
        return records

    def _patience(self) -> float:
        if self._cancelled or self._partitions.busy(self._intake.waiting_places()):
            return BUSY_SECONDS
        if self._flow.paused:
            return DUE_SECONDS
        if self._until is not None:
            return SHORTEST_IDLE_SECONDS
        quiet = (time.monotonic() - self._last_message) / 10
        return min(max(quiet, SHORTEST_IDLE_SECONDS), LONGEST_IDLE_SECONDS)

    def _receive(self, records: list[Record]) -> None:
        deliveries = []
        problems = []
        for record in records:
            # An error of the group is of no topic.
            topic, partition = record.topic() or "", record.partition()
            place = (topic, -1 if partition is None else partition)
            error = record.error()
            if error is not None:
                problems.append((error, place, record.offset()))
            elif place in self._assigned:
                self._heard = True
                delivery = self._intake.take(record, place)
                if delivery is not None:
                    deliveries.append(delivery)
        if deliveries:
            self._buffer.put(oldest_first(deliveries))
            self._inbox.ring()
            self._last_message = time.monotonic()
        # Who asks whether all was read to its end finds it there.
        for problem in problems:
            self._report(*problem)

    def _report(self, error: KafkaError, place: Place, offset: int | None) -> None:
        denied = not_authorized(error, "READ", topic=place[0], group=self.group_id)
        if denied is not None and not self._heard:
            self._on_failure(denied)
        elif denied is not None:
            # What was once allowed may be so again; the messages wait.
            logger.error("%s", denied)
        elif error.fatal():
            self._on_failure(error)
        elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001
            self._ends[place] = offset or 0
            if place in self._assigned:
                self._flow.at_end(place)
        else:
            logger.warning("Kafka: %s", error.str())

    # Callbacks of the group; librdkafka calls them inside poll() and close().

    def _with_followers(self, partitions: list[TopicPartition]) -> list[Place]:
        return [
            place
            for tp in partitions
            for place in ((tp.topic, tp.partition), *self._topics.followers(tp.partition))
        ]

    def _on_assign(self, consumer: BareConsumer, partitions: list[TopicPartition]) -> None:
        self._partitions.apply()
        places = self._with_followers(partitions)
        wanted = [TopicPartition(*place) for place in places]
        stored = stored_offsets(consumer, wanted)
        for tp in stored or wanted:
            place = (tp.topic, tp.partition)
            self._ends.pop(place, None)
            self._partitions.assign(place, tp.offset if tp.offset >= 0 else None, tp.metadata or "")
            self._assigned.add(place)
        logger.info("got %s", _names(places))
        starts = Starts([], wanted)
        if stored:
            starts = start_offsets(consumer, stored, self._options.auto_offset_reset)
        for start in starts.waiting:
            consumer.incremental_assign([start])
        consumer.incremental_assign(starts.others)
        if wanted:
            # librdkafka remembers over a rebalance that a partition was paused.
            consumer.resume(wanted)
        self._joined = True

    def _on_revoke(self, consumer: BareConsumer, partitions: list[TopicPartition]) -> None:
        places = self._withdraw(partitions)
        left = self._partitions.wait_until_idle(
            places, self._options.revoke_timeout, give_up=lambda: self._stopping
        )
        self._commits.send_and_wait(consumer, places)
        self._assigned.difference_update(places)
        logger.info("gave back %s", _names(places))
        if left and not self._stopping:
            logger.warning(
                "%d running messages go to another member of group %r as well: they did not end "
                "within revoke_timeout (%g s)",
                left, self.group_id, self._options.revoke_timeout,
            )  # fmt: skip
        consumer.incremental_unassign([TopicPartition(*place) for place in places])

    def _on_lost(self, consumer: BareConsumer, partitions: list[TopicPartition]) -> None:
        places = self._withdraw(partitions)
        self._assigned.difference_update(places)
        logger.warning("lost %s: the group had no sign of life from here", _names(places))
        consumer.incremental_unassign([TopicPartition(*place) for place in places])

    def _withdraw(self, partitions: list[TopicPartition]) -> set[Place]:
        """Takes back what no consumer has seen; it is delivered to whoever has the partition."""
        places = set(self._with_followers(partitions)) & self._assigned
        self._flow.forget(places)
        self._discard(places)
        self._partitions.apply()
        return places

    def _discard(self, places: set[Place]) -> None:
        for delivery in self._buffer.discard(lambda d: d.origin in places):
            delivery.drop()
        self._intake.drop(places)


def _names(places: Iterable[Place]) -> str:
    return ", ".join(sorted(f"{topic}[{partition}]" for topic, partition in places)) or "nothing"
