"""What a consumer group has stored, asked from outside of it."""

from collections.abc import Iterable
from functools import partial
from typing import Any, Final

from confluent_kafka import Consumer as BareConsumer
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from kafka_transport.clients import Consumer
from kafka_transport.config import CONSUMER_PROPERTIES, for_consumer
from kafka_transport.looks import looks
from kafka_transport.native import Lock, off_hub
from kafka_transport.partitions import Place

__all__ = ["StoredOffsets"]

#: The coordinator was not found, or did not answer, within one attempt.
_NO_ANSWER: Final = frozenset(
    {KafkaError._TIMED_OUT, KafkaError._WAIT_COORD}  # noqa: SLF001  # they have no public names
)


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
            KafkaException: The group's coordinator refused, or did not answer within `timeout` seconds.
        """
        partitions = [TopicPartition(*place) for place in places]
        return off_hub(partial(self._ask, group_id, partitions, timeout)) if partitions else []

    def _ask(
        self, group_id: str, partitions: list[TopicPartition], timeout: float
    ) -> list[TopicPartition]:
        with self._lock:
            if self._asked is None or self._asked[0] != group_id:
                self._forget()
                self._asked = group_id, Consumer(self._properties | {"group.id": group_id})
            consumer = self._asked[1]
            attempts = looks(timeout)
            while True:
                seconds, last = next(attempts)
                try:
                    return list(consumer.committed(partitions, seconds))
                except KafkaException as error:
                    refusal = _refusal(consumer)
                    if refusal is not None:
                        self._forget()
                        raise KafkaException(refusal) from error
                    if last or error.args[0].code() not in _NO_ANSWER:
                        raise

    def _forget(self) -> None:
        if self._asked is not None:
            self._asked[1].close()
            self._asked = None


def _refusal(consumer: BareConsumer) -> KafkaError | None:
    """What the coordinator said; `committed` waits for another answer, and does not tell."""
    errors = [record.error() for record in consumer.consume(100, 0)]
    denied = (e for e in errors if e and e.code() == KafkaError.GROUP_AUTHORIZATION_FAILED)
    return next(denied, None)
