"""Durable queues: each is a topic, with a topic beside it for what is not due and one for the dead."""

import time
from typing import Final

from kafka_transport.cluster import Cluster
from kafka_transport.config import Options
from kafka_transport.delays import SHORTEST_SECONDS, delay_group, delay_topic, level_for
from kafka_transport.errors import InvalidName
from kafka_transport.inbox import Delivery
from kafka_transport.intake import death_headers
from kafka_transport.publisher import Destination, Outgoing
from kafka_transport.topics import DEAD, DELAY, QUEUE, Shape, dead_letter_topic, queue_topic
from kafka_transport.wire import RecordHeaders, encode

__all__ = ["DurableQueues"]


class DurableQueues:
    """What can be done to a durable queue without consuming it."""

    def __init__(self, cluster: Cluster, options: Options) -> None:
        self._cluster: Final = cluster
        self._options: Final = options

    def topic_of(self, queue: str) -> str:
        """The topic of a queue.

        Raises:
            InvalidName: Kafka allows no such topic.
        """
        return queue_topic(queue, self._options.topic_prefix)

    def declare(self, queue: str) -> None:
        """Makes the queue's topic if it is not there."""
        self._cluster.topics.ensure(self.topic_of(queue))

    def exists(self, queue: str) -> bool:
        """Whether there is such a queue."""
        try:
            return self._cluster.topics.exists(self.topic_of(queue))
        except InvalidName:
            return False

    def read_by(self, queue: str) -> list[tuple[str, str]]:
        """The topics that a consumer of the queue reads, each with its group."""
        topic, group = self.topic_of(queue), self._options.group_id
        if not self._options.durable_delays:
            return [(topic, group)]
        self._cluster.topics.ensure(delay_topic(topic), DELAY)
        return [(topic, group), (delay_topic(topic), delay_group(group))]

    def count(self, queue: str) -> int:
        """Messages that are not done, those that are not due among them."""
        topics = self._cluster.topics
        return sum(topics.lag(*place) for place in self._with_messages(queue))

    def purge(self, queue: str) -> int:
        """Deletes the messages; how many they were."""
        topics = self._cluster.topics
        return sum(topics.purge(*place) for place in self._with_messages(queue))

    def delete(self, queue: str) -> None:
        """Deletes the topics with their messages. The dead letters stay."""
        self._cluster.bindings.delete_queue(queue)
        for topic, _ in self._with_messages(queue):
            self._cluster.topics.delete(topic)

    def destination(self, topic: str, due: float | None) -> Destination:
        """Where a message for a queue's topic goes now: to where it waits, if it is not due."""
        topics = self._cluster.topics
        left = 0.0 if due is None else due - time.time()
        if left < SHORTEST_SECONDS:
            return Destination(topic, topics.ensure(topic, QUEUE))
        waits_in = delay_topic(topic)
        partitions = topics.ensure(waits_in, DELAY)
        return Destination(waits_in, partitions, level_for(left, partitions))

    def requeue(self, delivery: Delivery) -> None:
        """Puts a message at the end of its queue; returns once the broker has it."""
        assert delivery.origin is not None
        delivery.envelope.properties["delivery_count"] = delivery.deliveries
        self._send_on(delivery, delivery.origin[0], QUEUE, [])

    def bury(self, delivery: Delivery, reason: str) -> None:
        """Moves a message to its queue's dead letters; returns once the broker has it."""
        if delivery.origin is not None and self._options.dead_letters:
            topic = dead_letter_topic(delivery.origin[0])
            self._send_on(delivery, topic, DEAD, death_headers(delivery.origin, None, reason))

    def _with_messages(self, queue: str) -> list[tuple[str, str]]:
        topic, group = self.topic_of(queue), self._options.group_id
        both = ((topic, group), (delay_topic(topic), delay_group(group)))
        return [(t, g) for t, g in both if self._cluster.topics.exists(t)]

    def _send_on(
        self, delivery: Delivery, topic: str, shape: Shape, more_headers: RecordHeaders
    ) -> None:
        envelope = delivery.envelope
        value, key, headers = encode(
            {
                "body": envelope.body,
                "content_type": envelope.content_type,
                "content_encoding": envelope.content_encoding,
                "headers": envelope.headers,
                "properties": envelope.properties,
            },
            envelope.exchange,
            envelope.routing_key,
        )
        to = Destination(topic, self._cluster.topics.ensure(topic, shape))
        publisher = self._cluster.publisher
        publisher.wait(publisher.send(Outgoing(to, value, [*headers, *more_headers], key)))
