"""Where a consumer begins to read the partitions that it is given.

Left to itself librdkafka asks for each unknown start with a request of its own, and learns of topics
that it is not subscribed to (lanes, delays) a second after the assignment: 0.7 s to the first
message of a new group, 2.3 s with ten lanes. One question about all partitions answers both.

librdkafka fetches as soon as the first of its partitions is ready, and while nothing comes in on those
that were, the others wait for that fetch to end: `fetch.wait.max.ms`, half a second. So the partitions
in which messages wait are told from the others, and assigned first: a fetch of them ends at once. Of one
list librdkafka begins with the last: they are assigned one by one, the higher lanes and then the lower
partitions first.

What is called here runs inside the group's callbacks, where `list_topics` must not be used: after it
confluent-kafka (2.16) aborts the process with the next callback of the same poll().
"""

import logging
import time
from contextlib import suppress
from typing import Final, NamedTuple

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaException, TopicPartition

from kafka_transport.errors import passes

__all__ = ["RESET", "Starts", "start_offsets", "stored_offsets"]

logger = logging.getLogger(__name__)

#: Seconds that the group's coordinator may take to say what was committed.
COMMITTED_SECONDS: Final = 5.0

#: Seconds that the partitions' leaders may take to say where they begin.
STARTS_SECONDS: Final = 2.0

#: Seconds until a leader that is not there yet is asked again.
AGAIN_SECONDS: Final = 0.02

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


class Starts(NamedTuple):
    """Partitions with the offsets that they are read from."""

    #: Those in which messages wait, in the order in which they are best read.
    waiting: list[TopicPartition]
    others: list[TopicPartition]


def start_offsets(
    consumer: Consumer, stored: list[TopicPartition], auto_offset_reset: str
) -> Starts:
    """Where to read each partition from: what is stored of it, else where a new group starts.

    What nobody could tell in time is left to librdkafka.
    """
    deadline = time.monotonic() + STARTS_SECONDS
    from_beginning = auto_offset_reset == "earliest"
    ends = _offsets(consumer, stored, OFFSET_END, deadline)
    unknown = [tp for tp in stored if tp.offset < 0 and ends.get(_place(tp), 0) > 0]
    first = _offsets(consumer, unknown, OFFSET_BEGINNING, deadline) if from_beginning else ends
    starts = Starts([], [])
    for tp in stored:
        place, start = _place(tp), tp.offset
        end = ends.get(place)
        if start < 0 and tp.error is None:
            new = OFFSET_BEGINNING if from_beginning else OFFSET_END
            start = 0 if end == 0 else first.get(place, new)
        waits = end is not None and 0 <= start < end
        (starts.waiting if waits else starts.others).append(
            TopicPartition(tp.topic, tp.partition, start)
        )
    # The sort is stable, and `.p9` comes last.
    starts.waiting.sort(key=lambda tp: tp.topic, reverse=True)
    return starts


def _place(tp: TopicPartition) -> tuple[str, int]:
    return tp.topic, tp.partition


def _offsets(
    consumer: Consumer, partitions: list[TopicPartition], where: int, deadline: float
) -> dict[tuple[str, int], int]:
    """Where these partitions begin or end, of those whose leaders say so by then."""
    asked = [TopicPartition(tp.topic, tp.partition, where) for tp in partitions]
    topics = sorted({tp.topic for tp in asked})
    found: dict[tuple[str, int], int] = {}
    while asked and not found:
        try:
            return _ask(consumer, asked, deadline)
        except KafkaException as error:
            logger.info("some partitions are read a moment later: %s", error.args[0].str())
            if not passes(error.args[0]) or time.monotonic() > deadline:
                break
        # One that was just made, the delays say, is not waited for where there are others.
        for topic in topics:
            with suppress(KafkaException):
                found |= _ask(consumer, [tp for tp in asked if tp.topic == topic], deadline)
        if not found:
            time.sleep(AGAIN_SECONDS)
    return found


def _ask(
    consumer: Consumer, asked: list[TopicPartition], deadline: float
) -> dict[tuple[str, int], int]:
    timeout = max(AGAIN_SECONDS, deadline - time.monotonic())
    # With an error the offset is -1, which would mean the end.
    return {
        _place(tp): tp.offset
        for tp in consumer.offsets_for_times(asked, timeout=timeout)
        if tp.error is None
    }
