"""A queue's dead letters: listing, replaying and dropping them.

A letter is handled once a mark says so: a record in the letter's own partition of `<queue>.dlq`
whose header `dead-handled` names the offsets. A mark is kept as long as the letters are, unlike a
group's offsets, which brokers forget after a week without members. What is handled from the
partition's beginning on is then deleted.

At least once: a letter is published to its queue, confirmed by the broker, and only then marked. A
kill between the two leaves it in the list, and the next replay publishes it again: `BATCH` of them
at most. Replays and drops of one queue exclude each other: each holds the topic as the one member
of a group, which a killed one leaves after six seconds.
"""

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Final

from confluent_kafka import Consumer as BareConsumer
from confluent_kafka import KafkaException
from confluent_kafka import Message as Record
from kombu.utils.json import dumps

from kafka_transport.clients import Consumer
from kafka_transport.cluster import Cluster
from kafka_transport.config import CONSUMER_PROPERTIES, for_consumer
from kafka_transport.delays import due_time
from kafka_transport.durable import DurableQueues
from kafka_transport.errors import KafkaTransportError, QueueNotFound
from kafka_transport.operations import requests
from kafka_transport.operations.letters import HANDLED, DeadLetter, handled_in, read_letter
from kafka_transport.operations.reading import Reader
from kafka_transport.operations.requests import Range
from kafka_transport.partitions import Place
from kafka_transport.publisher import Destination, Outgoing
from kafka_transport.topics import dead_letter_topic
from kafka_transport.wire import RecordHeaders, record_headers

__all__ = ["BATCH", "DeadLetter", "DeadLetters", "Outcome"]

#: Letters that are published before they are marked together: what a kill may publish twice.
BATCH: Final = 100

#: Seconds to become the only one at work: longer than the group waits for one that was killed.
SOLE_SECONDS: Final = 15.0

#: The record headers that a letter has from its end, not from who published it.
_OF_DEATH: Final = ("dead-reason", "dead-from", "dead-at", "dead-deliveries")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a replay or drop did."""

    handled: int
    #: Ids that were asked for and are of no letter.
    missing: tuple[str, ...]


class DeadLetters:
    """The dead letters of one queue.

    Raises:
        QueueNotFound: The queue has none and never had.
    """

    def __init__(self, cluster: Cluster, durable: DurableQueues, queue: str) -> None:
        self._cluster: Final = cluster
        self._durable: Final = durable
        self._queue_topic: Final = durable.topic_of(queue)
        self._group_id: Final = durable.dead_letter_group(queue)
        self._topic: Final = dead_letter_topic(self._queue_topic)
        there = requests.layout(cluster.topics.admin)
        if self._topic not in there:
            known = self._queue_topic in there
            raise QueueNotFound(
                f"queue {queue!r} has no dead letters: nothing was ever moved to {self._topic!r}"
                if known
                else f"there is no queue {queue!r}, and no topic {self._topic!r}"
            )
        self._partitions: Final = there[self._topic][0]

    def letters(self) -> Iterator[DeadLetter]:
        """Those that were neither replayed nor dropped, the oldest of each partition first.

        Reads the topic twice, its marks first; one letter at a time is in memory.
        """
        ranges, handled = self._look()
        return (letter for letter, _ in self._open(ranges, handled))

    def replay(self, only: Collection[str] | None = None) -> Outcome:
        """Publishes letters to their queue again, as if for the first time; all, or some by id.

        Raises:
            KafkaTransportError: Another one is at work, or the broker did not take a message. What
                was done before stays done.
        """
        return self._handle(only, self._publish)

    def drop(self, only: Collection[str] | None = None) -> Outcome:
        """Forgets letters for ever; raises like `replay`."""
        return self._handle(only, lambda _: None)

    def _handle(
        self, only: Collection[str] | None, act: Callable[[Sequence[Record]], None]
    ) -> Outcome:
        found: set[str] = set()
        count = 0
        with self._alone() as still_alone:
            ranges, handled = self._look()
            wanted = (
                (letter, record)
                for letter, record in self._open(ranges, handled)
                if only is None or letter.place in only or letter.id in only
            )
            while batch := list(islice(wanted, BATCH)):
                still_alone()
                act([record for _, record in batch])
                self._mark([letter for letter, _ in batch])
                count += len(batch)
                found |= {name for letter, _ in batch for name in (letter.place, letter.id or "")}
            self._tidy()
        return Outcome(count, tuple(sorted(set(only or ()) - found)))

    def _publish(self, records: Sequence[Record]) -> None:
        self._cluster.publisher.store([self._revived(record) for record in records])

    def _revived(self, record: Record) -> Outgoing:
        letter = read_letter(record)
        headers: RecordHeaders = [
            (name, value) for name, value in record_headers(record) if name not in _OF_DEATH
        ]
        due, priority = None, 0
        if letter.envelope is not None:
            due = due_time(letter.envelope.headers)
            properties = letter.envelope.properties
            given = properties.get("priority")
            priority = given if isinstance(given, int) and given > 0 else 0
            # Counted on, it would be given up again at once.
            properties.pop("delivery_count", None)
            headers = [
                (name, dumps(properties) if name == "properties" else value)
                for name, value in headers
            ]
        key = record.key()
        return Outgoing(
            self._durable.destination(self._queue_topic, due, priority),
            record.value() or b"",
            headers,
            key.encode() if isinstance(key, str) else key,
        )

    def _mark(self, letters: Sequence[DeadLetter]) -> None:
        marks = []
        by_partition = sorted(letters, key=lambda letter: letter.partition)
        for partition, mine in groupby(by_partition, key=lambda letter: letter.partition):
            named = ",".join(str(letter.offset) for letter in mine)
            to = Destination(self._topic, self._partitions, partition)
            marks.append(Outgoing(to, b"", [(HANDLED, named)]))
        self._cluster.publisher.store(marks)

    def _tidy(self) -> None:
        """Deletes what is handled from the beginning on, with the marks that say so."""
        ranges, handled = self._look()
        first = dict.fromkeys(ranges, -1)
        for letter, _ in self._open(ranges, handled):
            place = (self._topic, letter.partition)
            if first[place] < 0:
                first[place] = letter.offset
                if all(offset >= 0 for offset in first.values()):
                    break
        ends = {
            place: (offset if offset >= 0 else ranges[place].high)
            for place, offset in first.items()
        }
        requests.delete_before(
            self._cluster.topics.admin,
            {place: offset for place, offset in ends.items() if offset > ranges[place].low},
        )

    def _look(self) -> tuple[dict[Place, Range], dict[Place, set[int]]]:
        places = [(self._topic, partition) for partition in range(self._partitions)]
        ranges = requests.ranges(self._cluster.topics.admin, places)
        handled: dict[Place, set[int]] = {place: set() for place in places}
        with Reader(self._cluster) as reader:
            for record in reader.records(ranges):
                handled[self._topic, record.partition() or 0] |= handled_in(record)
        return ranges, handled

    def _open(
        self, ranges: dict[Place, Range], handled: dict[Place, set[int]]
    ) -> Iterator[tuple[DeadLetter, Record]]:
        with Reader(self._cluster) as reader:
            for record in reader.records(ranges):
                letter = read_letter(record)
                done = handled[self._topic, letter.partition]
                if letter.offset not in done and not handled_in(record):
                    yield letter, record

    @contextmanager
    def _alone(self) -> Iterator[Callable[[], None]]:
        """Nobody else handles these letters meanwhile; what it gives raises once that ended."""
        group_id = self._group_id
        consumer = Consumer(
            for_consumer(self._cluster.properties)
            | dict(CONSUMER_PROPERTIES)
            | {"group.id": group_id, "session.timeout.ms": 6000, "heartbeat.interval.ms": 2000}
        )
        try:
            consumer.subscribe([self._topic])
            deadline = time.monotonic() + SOLE_SECONDS
            while not self._has_all(consumer):
                if time.monotonic() > deadline:
                    raise KafkaTransportError(
                        f"another replay or drop is at work on {self._topic!r}: try again when it "
                        f"has ended (group {group_id!r}, ACL Read)"
                    )

            def check() -> None:
                if not self._has_all(consumer):
                    raise KafkaTransportError(
                        f"another replay or drop took over {self._topic!r}; what was done is done"
                    )

            yield check
        except KafkaException as error:
            raise KafkaTransportError(
                f"group {group_id!r} cannot be joined (it needs the ACL Read on that group): "
                f"{error.args[0].str()}"
            ) from error
        finally:
            consumer.close()

    def _has_all(self, consumer: BareConsumer) -> bool:
        record = consumer.poll(0.05)
        error = None if record is None else record.error()
        if error is not None and error.fatal():
            raise KafkaException(error)
        mine = consumer.assignment()
        if mine:
            consumer.pause(mine)
        return len(mine) == self._partitions
