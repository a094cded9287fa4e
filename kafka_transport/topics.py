"""Topics: their names, making them, their offsets and lag.

One `Topics` a process and cluster; what it has seen to exist it does not ask for again.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from confluent_kafka import (
    OFFSET_INVALID,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # it has no __all__
    ConfigEntry,
    ConfigResource,
    OffsetSpec,
    ResourceType,
)
from confluent_kafka.cimpl import NewTopic

from kafka_transport.admin import REQUEST_SECONDS, Admin
from kafka_transport.commit_metadata import decode_metadata
from kafka_transport.config import Options
from kafka_transport.delays import LEVELS
from kafka_transport.errors import (
    BrokerUnavailable,
    NotAuthorized,
    not_authorized,
    topic_error,
    unavailable,
)
from kafka_transport.native import Lock, outcome
from kafka_transport.stored_offsets import StoredOffsets

__all__ = [
    "DEAD",
    "DELAY",
    "EXCHANGE",
    "QUEUE",
    "Shape",
    "Topics",
    "dead_letter_topic",
]

#: Seconds for which a topic that was not there is taken as still not there.
ABSENT_SECONDS: Final = 5.0


@dataclass(frozen=True)
class Shape:
    """What a topic is made with."""

    #: None: as many as the options say.
    partitions: int | None = None
    config: Mapping[str, str] = field(default_factory=dict)


KEPT: Final = {"retention.ms": "-1"}

#: Waits for ever; what is done is deleted by `retention`.
QUEUE: Final = Shape()

#: What is sent to an exchange is for those who listen now; the broker may drop it soon.
EXCHANGE: Final = Shape(1, {"retention.ms": "600000", "segment.ms": "600000"})

#: What waits here may be due in years; what died stays until somebody looks at it.
DELAY: Final = Shape(LEVELS, KEPT)
DEAD: Final = Shape(1, KEPT)

#: These say nothing of the topic.
_NO_ANSWER: Final = frozenset(
    {KafkaError._TIMED_OUT, KafkaError._TRANSPORT, KafkaError.REQUEST_TIMED_OUT}  # noqa: SLF001
)

#: `message.max.bytes` of a broker that nobody configured, less what a batch adds to its records.
BATCH_BYTES: Final = 1024
BROKERS_LIMIT: Final = 1_048_588 - BATCH_BYTES


def dead_letter_topic(topic: str) -> str:
    """Where a queue's messages go that nobody could handle."""
    return f"{topic}.dlq"


class Topics:
    """What the cluster has. Every method may be called from any thread."""

    def __init__(self, properties: dict[str, Any], options: Options) -> None:
        self._options: Final = options
        self._admin: Final = Admin(properties)
        self._stored: Final = StoredOffsets(properties)
        self._lock: Final = Lock()
        self._partitions: Final[dict[str, int]] = {}
        self._absent: Final[dict[str, float]] = {}

    @property
    def admin(self) -> Admin:
        """For an operator's requests."""
        return self._admin

    def check(self, timeout: float) -> None:
        """Asks the cluster for a sign of life; see `Admin.check`."""
        self._admin.check(timeout)

    def ensure(self, topic: str, shape: "Shape | None" = None) -> int:
        """Makes the topic if it is not there; how many partitions it has.

        Raises:
            BrokerUnavailable: No broker answered.
            KafkaTransportError: The broker refused to make the topic.
        """
        # Without the lock: this is asked for every message, and a dictionary reads whole.
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
        try:
            found = self._look([topic])
        except NotAuthorized:
            # One of a queue's lanes, say, that this user was not told of.
            found = {}
        with self._lock:
            self._partitions.update(found)
            if not found:
                self._absent[topic] = time.monotonic()
        return bool(found)

    def forget(self, topic: str) -> None:
        """Looks anew next time: the topic was deleted, or turned out to be gone."""
        with self._lock:
            self._partitions.pop(topic, None)

    def size_limit(self, topic: str) -> "Future[int | None]":
        """The most bytes that a record of the topic may have; None if the cluster does not say."""
        limit: Future[int | None] = Future()

        def answer(config: "Future[dict[str, ConfigEntry]]") -> None:
            entry = None if config.exception() else config.result().get("max.message.bytes")
            limit.set_result(int(entry.value) if entry is not None and entry.value else None)

        resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
        asked = self._admin.client.describe_configs([resource], request_timeout=REQUEST_SECONDS)
        asked[resource].add_done_callback(answer)
        return limit

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
        stored = {(tp.topic, tp.partition): tp for tp in self.stored(group_id, ends)}
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

    def stored(self, group_id: str, places: Iterable[tuple[str, int]]) -> list[TopicPartition]:
        """What the group has stored of these partitions; a negative offset where nothing."""
        return self._admin.ask(
            lambda: self._stored.of(group_id, places, REQUEST_SECONDS), group=group_id
        )

    def purge(self, topics: Sequence[str], group_id: str) -> int:
        """Deletes every record of the topics; how many of them the group had not done."""
        count = self.lag(topics, group_id)
        ends = [end for topic in topics for end in self.end_offsets(topic)]
        if ends:
            futures = self._admin.client.delete_records(ends, request_timeout=REQUEST_SECONDS)
            for future in futures.values():
                self._admin.ask(partial(outcome, future), operation="DELETE")
        return count

    def delete(self, topics: Sequence[str]) -> None:
        """Deletes the topics with all their records."""
        if not topics:
            return
        futures = self._admin.client.delete_topics(list(topics), request_timeout=REQUEST_SECONDS)
        for topic, future in futures.items():
            try:
                outcome(future)
            except KafkaException as error:
                if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                    denied = not_authorized(error.args[0], "DELETE", topic=topic)
                    raise denied or unavailable(error.args[0]) from error
            self.forget(topic)

    def keeps_for_ever(self, topic: str) -> bool:
        """Whether the broker drops no message of the topic for its age."""
        resource = ConfigResource(ResourceType.TOPIC, topic)
        future = self._admin.client.describe_configs([resource], request_timeout=REQUEST_SECONDS)[
            resource
        ]
        entries = self._admin.ask(
            partial(outcome, future), operation="DESCRIBE_CONFIGS", topic=topic
        )
        return bool(entries["retention.ms"].value == "-1")

    def delete_done(self, topic: str, group_id: str, before: float) -> None:
        """Deletes what the group has committed, if it is older than `before` (since the epoch)."""
        places = [TopicPartition(topic, partition) for partition in range(self.ensure(topic))]
        spec = OffsetSpec.for_timestamp(int(before * 1000))
        old = self._offsets(places, spec)
        stored = self.stored(group_id, [(topic, tp.partition) for tp in places])
        done = {tp.partition: tp.offset for tp in stored}
        until = [
            # -1: all of the partition's records are older.
            TopicPartition(
                topic, partition, done[partition] if end < 0 else min(done[partition], end)
            )
            for partition, end in enumerate(old)
            if done.get(partition, OFFSET_INVALID) > 0
        ]
        if until:
            futures = self._admin.client.delete_records(until, request_timeout=REQUEST_SECONDS)
            for deletion in futures.values():
                self._admin.ask(partial(outcome, deletion), operation="DELETE", topic=topic)

    def _offsets(self, places: list[TopicPartition], spec: OffsetSpec) -> list[int]:
        def offsets() -> list[int]:
            futures = self._admin.client.list_offsets(
                dict.fromkeys(places, spec), request_timeout=REQUEST_SECONDS
            )
            return [outcome(futures[place]).offset for place in places]

        return self._admin.ask(offsets)

    def _watermarks(self, topic: str) -> list[tuple[int, int]]:
        """Of each partition, the oldest record's offset and the next one's."""
        places = [TopicPartition(topic, partition) for partition in range(self.ensure(topic))]

        low = self._offsets(places, OffsetSpec.earliest())  # type: ignore[no-untyped-call]
        high = self._offsets(places, OffsetSpec.latest())  # type: ignore[no-untyped-call]
        return list(zip(low, high, strict=True))

    def _look(self, topics: Sequence[str]) -> dict[str, int]:
        """Partitions of those that are there."""
        if not self._admin.has_controller():
            # Asks for all: asking for one makes it.
            found = self._admin.ask(self._admin.list).topics
            return {
                topic: len(found[topic].partitions)
                for topic in topics
                if topic in found and found[topic].error is None and found[topic].partitions
            }
        if not topics:
            return {}
        futures = self._admin.ask(
            lambda: self._admin.client.describe_topics(
                TopicCollection(list(topics)), request_timeout=REQUEST_SECONDS
            )
        )
        counts = {t: self._admin.ask(partial(_partitions, futures[t]), topic=t) for t in topics}
        return {topic: count for topic, count in counts.items() if count}

    def _make(self, topics: Sequence[str], shape: "Shape") -> dict[str, int]:
        if not self._admin.has_controller():
            return self._make_by_asking(topics)
        partitions, replicas = shape.partitions, self._options.replication_factor
        partitions = partitions or self._options.num_partitions
        config = {**KEPT, **self._size(), **self._options.topic_config, **shape.config}
        futures = self._admin.client.create_topics(
            [
                NewTopic(
                    topic, num_partitions=partitions, replication_factor=replicas, config=config
                )
                for topic in topics
            ],
            request_timeout=REQUEST_SECONDS,
        )
        for topic, future in futures.items():
            try:
                outcome(future)
            except KafkaException as error:
                code = error.args[0].code()
                if code in _NO_ANSWER:
                    raise unavailable(error.args[0]) from error
                if code != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise topic_error(
                        error.args[0],
                        topic,
                        partitions=partitions,
                        replication_factor=replicas,
                        brokers=len(self._admin.list().brokers),
                    ) from error
        return self._wait_for(topics)

    def _size(self) -> dict[str, str]:
        limit = self._options.max_message_bytes
        if limit <= BROKERS_LIMIT:
            return {}
        return {"max.message.bytes": str(limit + BATCH_BYTES)}

    def _make_by_asking(self, topics: Sequence[str]) -> dict[str, int]:
        # librdkafka's mock cluster has no controller and so no CreateTopics: a topic is made by
        # the first request for its metadata.
        made = {}
        for topic in topics:
            found = self._admin.client.list_topics(topic, timeout=REQUEST_SECONDS)
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


def _partitions(description: Any) -> int:
    try:
        return len(outcome(description).partitions)
    except KafkaException as error:
        if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            return 0
        raise
