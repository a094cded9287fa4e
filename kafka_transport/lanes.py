"""Priorities: a queue with `x-max-priority` is several topics, its lanes. Pure.

Lane 0 is the queue's own topic, lane k is `<queue>.p<k>`. Only lane 0 is balanced by the group; the
other lanes and the delays follow it, partition by partition, so that each worker has the same share
of every lane, and one group does for all.
"""

from dataclasses import dataclass
from typing import Final

__all__ = ["HIGHEST_LANE", "QueueTopics", "lane_topic"]

#: AMQP's priorities are 0 to 9 (AMQP 0-9-1, section 3.1.10.1); RabbitMQ advises few as well.
HIGHEST_LANE: Final = 9


def lane_topic(topic: str, lane: int) -> str:
    """The topic of a lane."""
    return f"{topic}.p{lane}" if lane else topic


@dataclass(frozen=True, slots=True)
class QueueTopics:
    """What a consumer of one queue reads."""

    #: Of each lane, its topic and how many partitions that has.
    lanes: tuple[tuple[str, int], ...]
    #: Where messages wait until they are due, if they wait in Kafka.
    delay: tuple[str, int] | None = None

    @property
    def main(self) -> str:
        """The topic that the group balances."""
        return self.lanes[0][0]

    def lane_for(self, priority: object) -> int:
        """The lane of a message with this priority: the highest there is, if it is above all."""
        wanted = priority if isinstance(priority, int) else 0
        return max(0, min(wanted, len(self.lanes) - 1))

    def followers(self, partition: int) -> list[tuple[str, int]]:
        """What whoever has this partition of lane 0 reads beside it.

        A lane with more partitions than lane 0 is shared out in turn; partition 0 brings the delays.
        """
        count = max(1, self.lanes[0][1])
        found = [
            (topic, other)
            for topic, partitions in self.lanes[1:]
            for other in range(partition, partitions, count)
        ]
        if self.delay is not None and partition == 0:
            topic, partitions = self.delay
            found += [(topic, other) for other in range(partitions)]
        return found
