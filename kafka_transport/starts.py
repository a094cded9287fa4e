"""Where a consumer begins to read the partitions that it is given.

Left to itself librdkafka asks for each unknown start with a request of its own, and learns of topics
that it is not subscribed to (lanes, delays) a second after the assignment: 0.7 s to the first
message of a new group, 2.3 s with ten lanes. One question about all partitions answers both.

What is called here runs inside the group's callbacks, where `list_topics` must not be used: after it
confluent-kafka (2.16) aborts the process with the next callback of the same poll().
"""

import logging
from typing import Final

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaException, TopicPartition

__all__ = ["RESET", "start_offsets", "stored_offsets"]

logger = logging.getLogger(__name__)

#: Seconds that the group's coordinator may take to say what was committed.
COMMITTED_SECONDS: Final = 5.0

#: Seconds that the partitions' leaders may take to say where they begin.
STARTS_SECONDS: Final = 2.0

#: librdkafka's `auto.offset.reset`: a stored offset that is not in the log any more, below its
#: beginning, say, goes on with the oldest record. The option of that name is for new groups alone.
RESET: Final = "earliest"


def stored_offsets(consumer: Consumer, places: list[TopicPartition]) -> list[TopicPartition]:
    """What the group has stored of each partition; empty if its coordinator does not say."""
    if not places:
        return []
    try:
        return list(consumer.committed(places, timeout=COMMITTED_SECONDS))
    except KafkaException as error:
        logger.warning("what was acked out of order may run again: %s", error.args[0].str())
        return []


def start_offsets(
    consumer: Consumer, stored: list[TopicPartition], auto_offset_reset: str
) -> list[TopicPartition]:
    """Where to read each partition from: what is stored of it, else where a new group starts.

    What nobody could tell in time is left to librdkafka.
    """
    new = OFFSET_BEGINNING if auto_offset_reset == "earliest" else OFFSET_END
    found = [TopicPartition(tp.topic, tp.partition, new) for tp in stored]
    try:
        found = consumer.offsets_for_times(found, timeout=STARTS_SECONDS)
    except KafkaException as error:
        logger.info("some partitions are read a moment later: %s", error.args[0].str())
    return [_start(*each, new) for each in zip(stored, found, strict=True)]


def _start(stored: TopicPartition, found: TopicPartition, new: int) -> TopicPartition:
    offset = stored.offset
    if offset < 0 and stored.error is None:
        # With an error the offset is -1, which would mean the end.
        offset = new if found.error is not None else found.offset
    return TopicPartition(stored.topic, stored.partition, offset)
