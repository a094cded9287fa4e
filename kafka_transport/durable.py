"""Durable queues: each is a topic, with topics beside it for priorities, what is not due, and the dead."""

import time
from typing import Final

from kafka_transport.arguments import QueueArguments
from kafka_transport.cluster import Cluster
from kafka_transport.config import Options
from kafka_transport.delays import SHORTEST_SECONDS, delay_topic, level_for
from kafka_transport.delivery import Delivery
from kafka_transport.errors import InvalidName
from kafka_transport.intake import death_headers
from kafka_transport.lanes import HIGHEST_LANE, QueueTopics, lane_topic
from kafka_transport.names import queue_topic
from kafka_transport.publisher import Destination, Outgoing
from kafka_transport.topics import DEAD, DELAY, QUEUE, Shape, dead_letter_topic
from kafka_transport.wire import RecordHeaders, encode

__all__ = ["DurableQueues"]


class DurableQueues:
    """What can be done to a durable queue without consuming it."""

    def __init__(self, cluster: Cluster, options: Options) -> None:
        self._cluster: Final = cluster
        self._options: Final = options

    @property
    def max_ahead(self) -> int:
        """Offsets that a partition may run ahead of its oldest unacknowledged message."""
        return self._options.max_ahead

    @property
    def starts_at_earliest(self) -> bool:
        """Whether a group that has stored nothing begins with the oldest message."""
        return self._options.auto_offset_reset == "earliest"

    @property
    def topic_prefix(self) -> str:
        """Before the name of every topic."""
        return self._options.topic_prefix

    def dead_letter_group(self, queue: str) -> str:
        """Whose one member replays or drops the queue's dead letters."""
        return dead_letter_topic(self.group_of(queue))

    def topic_of(self, queue: str) -> str:
        """The topic of a queue.

        Raises:
            InvalidName: It has no name.
        """
        return queue_topic(queue, self._options.topic_prefix)

    def declare(self, queue: str, arguments: QueueArguments) -> None:
        """Makes the queue's topics, one for each lane, if they are not there."""
        topic = self.topic_of(queue)
        lanes = [lane_topic(topic, lane) for lane in range(arguments.max_priority + 1)]
        self._cluster.topics.ensure_all(lanes)
        self._cluster.arguments[topic] = arguments
        if self._cluster.lanes.get(topic, -1) < arguments.max_priority:
            self._cluster.lanes[topic] = arguments.max_priority

    def exists(self, queue: str) -> bool:
        """Whether there is such a queue."""
        try:
            return self._cluster.topics.exists(self.topic_of(queue))
        except InvalidName:
            return False

    def arguments_of(self, queue: str) -> QueueArguments:
        """What the queue was declared with in this process."""
        return self._cluster.arguments.get(self.topic_of(queue), QueueArguments())

    def topics_of(self, queue: str) -> QueueTopics:
        """What a consumer of the queue reads."""
        topics, topic = self._cluster.topics, self.topic_of(queue)
        highest = self._look_for_lanes(topic)
        lanes = topics.ensure_all([lane_topic(topic, lane) for lane in range(highest + 1)])
        delay = None
        if self._options.durable_delays:
            delay = (delay_topic(topic), topics.ensure(delay_topic(topic), DELAY))
        return QueueTopics(tuple(lanes.items()), delay)

    def group_of(self, queue: str) -> str:
        """The consumer group that shares the queue."""
        return f"{self._options.group_id}.{self.topic_of(queue)}"

    def count(self, queue: str) -> int:
        """Messages that are not done, those that are not due among them."""
        return self._cluster.topics.lag(self.with_messages(queue), self.group_of(queue))

    def ends(self, queue: str) -> dict[tuple[str, int], int]:
        """Where the next message of each partition of the queue's lanes will stand."""
        return {
            (end.topic, end.partition): end.offset
            for topic, _ in self.topics_of(queue).lanes
            for end in self._cluster.topics.end_offsets(topic)
        }

    def purge(self, queue: str) -> int:
        """Deletes the messages; how many they were."""
        return self._cluster.topics.purge(self.with_messages(queue), self.group_of(queue))

    def delete(self, queue: str) -> None:
        """Deletes the topics with their messages. The dead letters stay."""
        self._cluster.bindings.delete_queue(queue)
        self._cluster.topics.delete(self.with_messages(queue))
        self._cluster.arguments.pop(self.topic_of(queue), None)
        self._cluster.lanes.pop(self.topic_of(queue), None)

    def destination(self, topic: str, due: float | None, priority: int = 0) -> Destination:
        """Where a message for a queue's topic goes now.

        To the lane of its priority, or the highest there is; if it is not due, to where it waits.
        """
        topics = self._cluster.topics
        left = 0.0 if due is None else due - time.time()
        if left < SHORTEST_SECONDS:
            lane = lane_topic(topic, min(priority, self._highest_lane(topic)) if priority else 0)
            return Destination(lane, topics.ensure(lane, QUEUE))
        waits_in = delay_topic(topic)
        partitions = topics.ensure(waits_in, DELAY)
        return Destination(waits_in, partitions, level_for(left, partitions))

    def requeue(self, delivery: Delivery) -> None:
        """Puts a message at the end of its lane; returns once the broker has it."""
        assert delivery.origin is not None
        delivery.envelope.properties["delivery_count"] = delivery.deliveries
        self._send_on(delivery, delivery.origin[0], QUEUE, [])

    def bury(self, delivery: Delivery, reason: str) -> None:
        """Moves a message to its queue's dead letters; returns once the broker has it."""
        if delivery.origin is not None and self._options.dead_letters:
            topic = dead_letter_topic(self.topic_of(delivery.queue))
            headers = death_headers(delivery.origin, None, reason, delivery.deliveries)
            self._send_on(delivery, topic, DEAD, headers)

    def _highest_lane(self, topic: str) -> int:
        highest = self._cluster.lanes.get(topic)
        return self._look_for_lanes(topic) if highest is None else highest

    def _look_for_lanes(self, topic: str) -> int:
        """Lanes that another process declared count as well."""
        highest = self._cluster.lanes.get(topic, 0)
        while highest < HIGHEST_LANE and self._cluster.topics.exists(
            lane_topic(topic, highest + 1)
        ):
            highest += 1
        self._cluster.lanes[topic] = highest
        return highest

    def with_messages(self, queue: str) -> list[str]:
        """The topics of the queue that there are, but for the dead letters."""
        topic = self.topic_of(queue)
        lanes = [lane_topic(topic, lane) for lane in range(self._highest_lane(topic) + 1)]
        return [t for t in (*lanes, delay_topic(topic)) if self._cluster.topics.exists(t)]

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
        self._cluster.publisher.store([Outgoing(to, value, [*headers, *more_headers], key)])
