"""How far a consumer reads ahead of those who take its messages."""

import time
from collections.abc import Collection, Iterable
from typing import Final

from confluent_kafka import Consumer, TopicPartition

from kafka_transport.buffer import Buffer
from kafka_transport.config import Options
from kafka_transport.delays import rest_seconds
from kafka_transport.intake import Intake
from kafka_transport.lanes import QueueTopics
from kafka_transport.partitions import Partitions, Place

__all__ = ["Flow"]

#: A full buffer is waited for while so many messages a second are taken from it, looked at every so
#: many seconds; else its partitions are paused. A pause makes librdkafka throw away what it has
#: fetched, and fetch it again; but what stands behind a message not polled, a rebalance, has to wait.
FAST: Final = 500.0
PATIENCE_SECONDS: Final = 0.5

#: Messages that may wait behind another one of their key, in times of `max_buffered`.
HELD: Final = 10


class Flow:
    """Pauses partitions of which enough is waiting, resumes those with room. The polling thread's own."""

    def __init__(
        self,
        buffer: Buffer,
        topics: QueueTopics,
        options: Options,
        partitions: Partitions,
        intake: Intake,
    ) -> None:
        self._buffer: Final = buffer
        self._delay_topic: Final = topics.delay[0] if topics.delay is not None else None
        self._lane_of: Final = {topic: lane for lane, (topic, _) in enumerate(topics.lanes)}
        self._options: Final = options
        self._partitions: Final = partitions
        self._intake: Final = intake
        #: Nothing is to be polled now.
        self.waits = False
        self._paused: set[Place] = set()
        #: Delay partitions that were read to their end, and until when they are not read.
        self._resting: Final[dict[Place, float]] = {}
        #: Partitions are paused as a lane is full.
        self._held_back = False
        #: When the buffer was found full, and how many messages had been taken from it by then.
        self._full_since: tuple[float, int] | None = None

    @property
    def stands(self) -> bool:
        """Whether something may have to be let go on."""
        return self.waits or bool(self._paused)

    @property
    def paused(self) -> bool:
        """Whether partitions are, for a moment."""
        return not self._paused <= self._resting.keys()

    def at_end(self, place: Place) -> None:
        """All that a partition held came in."""
        seconds = rest_seconds(place[1]) if place[0] == self._delay_topic else 0.0
        # What waits here may be due before the rest is over; it is looked at more often.
        if seconds and place not in self._intake.waiting_places():
            self._resting[place] = time.monotonic() + seconds

    def regulate(self, consumer: Consumer, assigned: set[Place], *, cancelled: bool) -> None:
        """Looks anew at what is unfinished, full or waits to be due."""
        delayed = self._intake.waiting_places()
        full: set[str] = set()
        self.waits = self._may_wait(cancelled=cancelled)
        if not self.waits:
            full = {topic for topic, lane in self._lane_of.items() if self._is_full(lane)}
        self._held_back = bool(full)
        most = self._options.max_ahead
        hold = {p for p in self._partitions.unfinished() if self._partitions.ahead(p) >= most}
        hold |= delayed
        hold.update(self._still_resting())
        if cancelled or full:
            hold.update(p for p in assigned if cancelled or p[0] in full)
        hold &= assigned
        if hold == self._paused:
            return
        if hold - self._paused:
            consumer.pause([TopicPartition(*place) for place in hold - self._paused])
        if self._paused - hold:
            consumer.resume([TopicPartition(*place) for place in self._paused - hold])
        self._paused = hold

    def forget(self, places: Iterable[Place]) -> None:
        """These partitions are given back."""
        for place in places:
            self._paused.discard(place)
            self._resting.pop(place, None)

    def _still_resting(self) -> Collection[Place]:
        now = time.monotonic()
        for place in [place for place, until in self._resting.items() if until <= now]:
            del self._resting[place]
        return self._resting.keys()

    def _may_wait(self, *, cancelled: bool) -> bool:
        """With the only lane full and emptied fast, not to poll costs less than to pause."""
        waits = (
            len(self._lane_of) == 1
            and not self._held_back
            and not cancelled
            and self._is_full(0)
            and self._is_emptied_fast()
        )
        if not waits:
            self._full_since = None
        return waits

    def _is_emptied_fast(self) -> bool:
        now, taken = time.monotonic(), self._buffer.taken
        if self._full_since is None:
            self._full_since = now, taken
        since, before = self._full_since
        if now - since >= PATIENCE_SECONDS:
            self._full_since = now, taken
            return taken - before >= FAST * (now - since)
        return True

    def _is_full(self, lane: int) -> bool:
        most = self._options.max_buffered
        if self._held_back:
            most = most // 2 + 1
        return self._buffer.waiting(lane) >= most or self._buffer.held >= HELD * most
