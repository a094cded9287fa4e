"""Reading records without a group: nothing is committed, nobody is disturbed."""

import time
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Final, Self

from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka import Message as Record

from kafka_transport.clients import Consumer
from kafka_transport.cluster import Cluster
from kafka_transport.config import CONSUMER_PROPERTIES, for_consumer
from kafka_transport.errors import BrokerUnavailable, KafkaTransportError, of_no_group
from kafka_transport.operations.requests import Range
from kafka_transport.partitions import Place

__all__ = ["Reader"]

#: Seconds without a record after which the broker is taken to be away.
SILENCE_SECONDS: Final = 10.0

#: Records taken over at a time.
BATCH: Final = 500


class Reader:
    """One consumer that is given partitions; to be closed."""

    def __init__(self, cluster: Cluster) -> None:
        self._consumer: Final = Consumer(
            for_consumer(cluster.properties)
            | dict(CONSUMER_PROPERTIES)
            # A consumer must name a group; with assign() it never joins it.
            | {"group.id": "kafka_transport.operations", "enable.partition.eof": True}
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._consumer.close()

    def records(self, ranges: Mapping[Place, Range]) -> Iterator[Record]:
        """All records of these partitions up to their ends as given; in order in each.

        Raises:
            KafkaTransportError: The broker refuses.
            BrokerUnavailable: It does not answer.
        """
        left = {place: held for place, held in ranges.items() if held.low < held.high}
        self._consumer.assign([TopicPartition(*place, held.low) for place, held in left.items()])
        heard = time.monotonic()
        while left:
            batch = self._consumer.consume(BATCH, 0.1)
            if not batch and time.monotonic() - heard > SILENCE_SECONDS:
                raise BrokerUnavailable(f"Kafka sent no records for {SILENCE_SECONDS:g} s")
            for record in batch:
                heard = time.monotonic()
                place, offset = (str(record.topic()), record.partition() or 0), record.offset() or 0
                error = record.error()
                if error is not None and of_no_group(error):
                    continue
                if error is not None and error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001
                    raise _refused(error)
                if place not in left:
                    continue
                if error is None and offset < left[place].high:
                    yield record
                if error is not None or offset >= left[place].high - 1:
                    del left[place]

    def first_records(self, starts: Mapping[Place, int]) -> dict[Place, Record]:
        """The first record at or after each offset, where there is one."""
        found: dict[Place, Record] = {}
        waiting = set(starts)
        self._consumer.assign([TopicPartition(*place, offset) for place, offset in starts.items()])
        deadline = time.monotonic() + SILENCE_SECONDS
        while waiting and time.monotonic() < deadline:
            record = self._consumer.poll(0.1)
            if record is None:
                continue
            place = (str(record.topic()), record.partition() or 0)
            error = record.error()
            if error is not None and of_no_group(error):
                continue
            if error is not None and error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001
                raise _refused(error)
            if place in waiting:
                waiting.discard(place)
                self._consumer.pause([TopicPartition(*place)])
                if error is None:
                    found[place] = record
        return found


def _refused(error: KafkaError) -> KafkaTransportError:
    if error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
        return KafkaTransportError(f"Kafka refuses ({error.str()}): the user needs the ACL Read")
    return BrokerUnavailable(f"Kafka did not answer: {KafkaException(error).args[0].str()}")
