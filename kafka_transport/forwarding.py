"""Records that go on to another topic: the next step of a delay, or the dead letters.

Published first, settled when the broker has it; what the broker did not take is sent again.
"""

import contextlib
import logging
from collections.abc import Callable, Container
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Final

from confluent_kafka import KafkaError
from confluent_kafka import Message as Record

from kafka_transport.errors import KafkaTransportError, publish_error
from kafka_transport.partitions import Place
from kafka_transport.publisher import Outgoing, Publisher

__all__ = ["Forwarder"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Step:
    place: Place
    offset: int
    make: Callable[[], Outgoing]


class Forwarder:
    """Called by the polling thread; the publisher's thread reports back."""

    def __init__(self, publisher: Publisher, settle: Callable[[Place, int], None]) -> None:
        self._publisher: Final = publisher
        self._settle: Final = settle
        self._failed: Final[SimpleQueue[_Step]] = SimpleQueue()

    def forward(self, place: Place, offset: int, make: Callable[[], Outgoing]) -> None:
        """Sends what `make` gives for the message at `offset`, which is done once it is stored."""
        self._send(_Step(place, offset, make))

    def retry(self) -> None:
        """Sends what the broker did not take once more."""
        # Asked with each look for records.
        if not self._failed.empty():
            for step in self._take_failed():
                self._send(step)

    def drop(self, places: Container[Place]) -> None:
        """These partitions went to another member, which will do what is left."""
        for step in self._take_failed():
            if step.place not in places:
                self._failed.put(step)

    def _take_failed(self) -> list[_Step]:
        steps: list[_Step] = []
        with contextlib.suppress(Empty):
            while True:
                steps.append(self._failed.get_nowait())
        return steps

    def _send(self, step: _Step) -> None:
        def done(error: KafkaError | None, record: Record) -> None:
            if error is None:
                self._settle(step.place, step.offset)
            else:
                reason = publish_error(error, str(record.topic()))
                logger.warning("%s; it is sent again", reason)
                self._failed.put(step)

        try:
            self._publisher.send(step.make(), done)
        except KafkaTransportError as error:
            logger.warning("%s; it is sent again", error)
            self._failed.put(step)
