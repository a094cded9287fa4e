"""Topics: their names, making them, their offsets and lag.

One `Topics` a process and cluster; what it has seen to exist it does not ask for again.
"""

import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from confluent_kafka import (
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined]  # it has no __all__
from confluent_kafka.cimpl import NewTopic

from kafka_transport.clients import AdminClient
from kafka_transport.commit_metadata import decode_metadata
from kafka_transport.config import Options, for_producer
from kafka_transport.delays import LEVELS, delay_topic
from kafka_transport.errors import BrokerUnavailable, InvalidName, KafkaTransportError
from kafka_transport.lanes import LANE_SUFFIXES

__all__ = [
    "DEAD",
    "DEFAULT_EXCHANGE",
    "DELAY",
    "EXCHANGE",
    "QUEUE",
    "Shape",
    "Topics",
    "dead_letter_topic",
    "exchange_topic",
    "queue_topic",
]

#: Seconds that any one request to the cluster may take.
REQUEST_SECONDS: Final = 10.0

#: Seconds for which a topic that was not there is taken as still not there.
ABSENT_SECONDS: Final = 5.0

#: AMQP's exchange without a name has a topic too, for replies sent straight to a transient queue.
DEFAULT_EXCHANGE: Final = "default"


@dataclass(frozen=True)
class Shape:
    """What a topic is made with."""

    #: None: as many as the options say.
    partitions: int | None = None
    config: Mapping[str, str] = field(default_factory=dict)


QUEUE: Final = Shape()

#: What is sent to an exchange is for those who listen now; the broker may drop it soon.
EXCHANGE: Final = Shape(1, {"retention.ms": "600000", "segment.ms": "600000"})

#: What waits here may be due in years; what died stays until somebody looks at it.
DELAY: Final = Shape(LEVELS, {"retention.ms": "-1"})
DEAD: Final = Shape(1, {"retention.ms": "-1"})

_PASSING: Final = frozenset(
    {
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.NOT_COORDINATOR,
    }
)

T = TypeVar("T")

_RESERVED: Final = (delay_topic(""), ".exchange", *LANE_SUFFIXES)

_LEGAL: Final = re.compile(r"[A-Za-z0-9._-]{1,249}")


def queue_topic(queue: str, prefix: str = "") -> str:
    """The topic of a durable queue.

    Raises:
        InvalidName: Kafka allows no such topic, or this transport has another use for it.
    """
    name = prefix + queue
    if queue.endswith(_RESERVED):
        raise InvalidName(
            f"durable queue {queue!r}: names that end in .delay, .exchange or .p1 to .p9 are this transport's own"
        )
    if not _LEGAL.fullmatch(name) or name in (".", ".."):
        raise InvalidName(
            f"durable queue {queue!r} cannot be a Kafka topic: use 1 to 249 of A-Z a-z 0-9 . _ -"
        )
    return name


def exchange_topic(exchange: str, prefix: str = "") -> str:
    """The topic of what is published to an exchange for transient queues."""
    legal = re.sub(r"[^A-Za-z0-9._-]", lambda m: f"-{ord(m[0]):x}-", exchange or DEFAULT_EXCHANGE)
    return f"{prefix}{legal}.exchange"


def dead_letter_topic(topic: str) -> str:
    """Where a queue's messages go that nobody could handle."""
    return f"{topic}.dlq"


class Topics:
    """What the cluster has. Every method may be called from any thread."""

    def __init__(self, properties: dict[str, Any], options: Options) -> None:
        self._options: Final = options
        self._admin: Final = AdminClient(for_producer(properties))
        self._lock: Final = threading.Lock()
        self._partitions: Final[dict[str, int]] = {}
        self._absent: Final[dict[str, float]] = {}

    def check(self, timeout: float) -> None:
        """Asks the cluster for a sign of life.

        Raises:
            BrokerUnavailable: None came within `timeout` seconds.
        """
        try:
            self._admin.list_topics(timeout=timeout)
        except KafkaException as error:
            raise _unavailable(error) from error

    def ensure(self, topic: str, shape: "Shape | None" = None) -> int:
        """Makes the topic if it is not there; how many partitions it has.

        Raises:
            BrokerUnavailable: No broker answered.
            KafkaTransportError: The broker refused to make the topic.
        """
        with self._lock:
            known = self._partitions.get(topic)
        return self.ensure_all([topic], shape)[topic] if known is None else known

    def ensure_all(self, topics: Sequence[str], shape: "Shape | None" = None) -> dict[str, int]:
        """`ensure` of several topics, made with one request."""
        with self._lock:
            known = {t: self._partitions[t] for t in topics if t in self._partitions}
        if len(known) < len(topics):
            known |= self._look([t for t in topics if t not in known])
            missing = [t for t in topics if t not in known]
            known |= self._make(missing, shape or QUEUE) if missing else {}
            with self._lock:
                self._partitions.update(known)
                for topic in topics:
                    self._absent.pop(topic, None)
        return known

    def exists(self, topic: str) -> bool:
        """Whether there is such a topic; a "no" is up to five seconds old."""
        with self._lock:
            if topic in self._partitions:
                return True
            if time.monotonic() - self._absent.get(topic, -ABSENT_SECONDS) < ABSENT_SECONDS:
                return False
        found = self._look([topic])
        with self._lock:
            self._partitions.update(found)
            if not found:
                self._absent[topic] = time.monotonic()
        return bool(found)

    def forget(self, topic: str) -> None:
        """Looks anew next time: the topic was deleted, or turned out to be gone."""
        with self._lock:
            self._partitions.pop(topic, None)

    def end_offsets(self, topic: str) -> list[TopicPartition]:
        """Where the next record of each partition will stand."""
        return [
            TopicPartition(topic, partition, high)
            for partition, (_, high) in enumerate(self._watermarks(topic))
        ]

    def lag(self, topics: Sequence[str], group_id: str) -> int:
        """Messages that the group has not done: a queue's message count."""
        if not topics:
            return 0
        ends = {
            (topic, partition): marks
            for topic in topics
            for partition, marks in enumerate(self._watermarks(topic))
        }
        futures = self._admin.list_consumer_group_offsets(
            [ConsumerGroupTopicPartitions(group_id, [TopicPartition(*place) for place in ends])],
            request_timeout=REQUEST_SECONDS,
        )
        stored = {(tp.topic, tp.partition): tp for tp in self._group_offsets(futures[group_id])}
        total = 0
        for place, (low, high) in ends.items():
            tp = stored.get(place)
            if tp is not None and tp.offset >= 0:
                done, _ = decode_metadata(tp.offset, tp.metadata or "")
                start = max(tp.offset, low)
                total += high - start - sum(start <= offset < high for offset in done)
            elif self._options.auto_offset_reset == "earliest":
                total += high - low
        return total

    def _group_offsets(self, future: Any) -> list[TopicPartition]:
        try:
            return list(future.result().topic_partitions)
        except KafkaException as error:
            # A group that was never there has committed nothing.
            if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
                return []
            raise _unavailable(error) from error

    def purge(self, topics: Sequence[str], group_id: str) -> int:
        """Deletes every record of the topics; how many of them the group had not done."""
        count = self.lag(topics, group_id)
        ends = [end for topic in topics for end in self.end_offsets(topic)]
        if ends:
            futures = self._admin.delete_records(ends, request_timeout=REQUEST_SECONDS)
            for future in futures.values():
                self._ask(future.result)
        return count

    def delete(self, topics: Sequence[str]) -> None:
        """Deletes the topics with all their records."""
        if not topics:
            return
        futures = self._admin.delete_topics(list(topics), request_timeout=REQUEST_SECONDS)
        for topic, future in futures.items():
            try:
                future.result()
            except KafkaException as error:
                if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                    raise _unavailable(error) from error
            self.forget(topic)

    def _watermarks(self, topic: str) -> list[tuple[int, int]]:
        """Of each partition, the oldest record's offset and the next one's."""
        places = [TopicPartition(topic, partition) for partition in range(self.ensure(topic))]

        def offsets(spec: OffsetSpec) -> list[int]:
            futures = self._admin.list_offsets(
                dict.fromkeys(places, spec), request_timeout=REQUEST_SECONDS
            )
            return [futures[place].result().offset for place in places]

        low = self._ask(lambda: offsets(OffsetSpec.earliest()))  # type: ignore[no-untyped-call]
        high = self._ask(lambda: offsets(OffsetSpec.latest()))  # type: ignore[no-untyped-call]
        return list(zip(low, high, strict=True))

    def _look(self, topics: Sequence[str]) -> dict[str, int]:
        """Partitions of those that are there. Asks for all, as asking for one makes it."""
        found = self._ask(lambda: self._admin.list_topics(timeout=REQUEST_SECONDS)).topics
        return {
            topic: len(found[topic].partitions)
            for topic in topics
            if topic in found and found[topic].error is None and found[topic].partitions
        }

    def _make(self, topics: Sequence[str], shape: "Shape") -> dict[str, int]:
        cluster = self._ask(lambda: self._admin.list_topics(timeout=REQUEST_SECONDS))
        if cluster.controller_id not in cluster.brokers:
            return self._make_by_asking(topics)
        futures = self._admin.create_topics(
            [
                NewTopic(
                    topic,
                    num_partitions=shape.partitions or self._options.num_partitions,
                    replication_factor=self._options.replication_factor,
                    config={**self._options.topic_config, **shape.config},
                )
                for topic in topics
            ],
            request_timeout=REQUEST_SECONDS,
        )
        for topic, future in futures.items():
            try:
                future.result()
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise KafkaTransportError(
                        f"Kafka did not make topic {topic!r}: {error.args[0].str()}"
                    ) from error
        return self._wait_for(topics)

    def _make_by_asking(self, topics: Sequence[str]) -> dict[str, int]:
        # librdkafka's mock cluster has no controller and so no CreateTopics: a topic is made by
        # the first request for its metadata.
        made = {}
        for topic in topics:
            found = self._admin.list_topics(topic, timeout=REQUEST_SECONDS)
            made[topic] = len(found.topics[topic].partitions)
        return made

    def _wait_for(self, topics: Sequence[str]) -> dict[str, int]:
        # CreateTopics answers before every broker knows of the topic.
        deadline = time.monotonic() + REQUEST_SECONDS
        while True:
            found = self._look(topics)
            if len(found) == len(topics):
                return found
            if time.monotonic() > deadline:
                missing = ", ".join(repr(topic) for topic in topics if topic not in found)
                raise BrokerUnavailable(f"topic {missing} was made but is not there yet")
            time.sleep(0.02)

    def _ask(self, request: Callable[[], T]) -> T:
        """The answer of the cluster; a partition that was just made has no leader for a moment."""
        deadline = time.monotonic() + REQUEST_SECONDS
        while True:
            try:
                return request()
            except KafkaException as error:
                if error.args[0].code() not in _PASSING or time.monotonic() > deadline:
                    raise _unavailable(error) from error
                time.sleep(0.02)


def _unavailable(error: KafkaException) -> BrokerUnavailable:
    return BrokerUnavailable(f"Kafka did not answer: {error.args[0].str()}")
