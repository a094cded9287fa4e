"""Sending commits: many acks share one, and one is under way at a time."""

import logging
import time
from collections.abc import Iterable
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from kafka_transport.acks import Commit
from kafka_transport.partitions import Partitions, Place

__all__ = ["Commits"]

logger = logging.getLogger(__name__)

#: Seconds after which a commit that was not answered is sent again.
COMMIT_SECONDS: Final = 5.0

#: Commits take one part in so many of the CPU: with thousands of acks a second, fewer are sent.
SPARING: Final = 20


class Commits:
    """The polling thread's own."""

    def __init__(self, partitions: Partitions) -> None:
        self._partitions: Final = partitions
        self._under_way: dict[Place, Commit] = {}
        self._sent_at = 0.0
        self._next_at = 0.0

    def send(self, consumer: Consumer, places: Iterable[Place]) -> None:
        """Commits what changed, without waiting for the answer."""
        now = time.monotonic()
        if now < self._next_at or (self._under_way and now - self._sent_at < COMMIT_SECONDS):
            return
        used = time.thread_time()
        self._partitions.changed(self._under_way)
        self._under_way = self._partitions.take_commits(places)
        if self._under_way:
            self._sent_at = now
            try:
                consumer.commit(offsets=_as_offsets(self._under_way), asynchronous=True)
            except KafkaException as error:
                logger.info("a commit is sent again: %s", error.args[0].str())
            self._next_at = now + SPARING * (time.thread_time() - used)

    def send_and_wait(self, consumer: Consumer, places: Iterable[Place]) -> None:
        """Commits all of these partitions, which are about to go, and waits for the answer."""
        places = set(places)
        self._partitions.changed(places)
        self._under_way = {}
        commits = self._partitions.take_commits(places)
        if not commits:
            return
        try:
            consumer.commit(offsets=_as_offsets(commits), asynchronous=False)
        except KafkaException as error:
            logger.warning(
                "acks were not committed, their messages will come again: %s", error.args[0].str()
            )

    def on_commit(self, error: KafkaError | None, partitions: list[TopicPartition]) -> None:
        """The broker's answer; librdkafka calls it inside poll()."""
        sent, self._under_way = self._under_way, {}
        for tp in partitions:
            place = (tp.topic, tp.partition)
            commit = sent.get(place)
            if commit is not None and error is None and tp.error is None:
                self._partitions.committed(place, commit)
            elif commit is not None:
                self._partitions.changed([place])
        if error is not None:
            logger.info("a commit is sent again: %s", error.str())


def _as_offsets(commits: dict[Place, Commit]) -> list[TopicPartition]:
    return [
        TopicPartition(topic, partition, commit.offset, commit.metadata)
        for (topic, partition), commit in commits.items()
    ]
