"""What a consumer group has stored, asked from outside of it."""

from collections.abc import Iterable
from functools import partial
from typing import Any, Final

from confluent_kafka import Consumer as BareConsumer
from confluent_kafka import TopicPartition

from kafka_transport.clients import Consumer
from kafka_transport.config import CONSUMER_PROPERTIES, for_consumer
from kafka_transport.native import Lock, off_hub
from kafka_transport.partitions import Place

__all__ = ["StoredOffsets"]


class StoredOffsets:
    """Asks with a consumer that never joins; any thread may.

    The admin client's request for the same, ListConsumerGroupOffsets, ended the process with a
    SIGSEGV when the group's coordinator had just moved or the broker just started
    (confluent-kafka 2.16.1); the consumer's waits until the coordinator is there.
    """

    def __init__(self, properties: dict[str, Any]) -> None:
        self._properties: Final = for_consumer(properties) | dict(CONSUMER_PROPERTIES)
        self._lock: Final = Lock()
        # Of the group that was asked for last: a monitor of many queues keeps no client for each.
        self._asked: tuple[str, BareConsumer] | None = None

    def of(self, group_id: str, places: Iterable[Place], timeout: float) -> list[TopicPartition]:
        """Offset and metadata of each partition; the offset is negative where there is none.

        Raises:
            KafkaException: The group's coordinator did not answer within `timeout` seconds.
        """
        partitions = [TopicPartition(*place) for place in places]
        return off_hub(partial(self._ask, group_id, partitions, timeout)) if partitions else []

    def _ask(
        self, group_id: str, partitions: list[TopicPartition], timeout: float
    ) -> list[TopicPartition]:
        with self._lock:
            if self._asked is None or self._asked[0] != group_id:
                if self._asked is not None:
                    self._asked[1].close()
                self._asked = group_id, Consumer(self._properties | {"group.id": group_id})
            return list(self._asked[1].committed(partitions, timeout))
