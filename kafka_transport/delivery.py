"""Messages on their way to a consumer."""

from collections.abc import Callable
from dataclasses import dataclass
from operator import itemgetter
from typing import Final, Protocol

from confluent_kafka import Message as Record

from kafka_transport.partitions import Place
from kafka_transport.wire import Envelope

__all__ = ["Delivery", "Source", "oldest_first"]

#: Messages that came in together and are put in order, at most.
FEW: Final = 50


class Source(Protocol):
    """Where a durable queue's message came from; called from any thread."""

    def open(self, delivery: "Delivery") -> bool:
        """Reads the record into `envelope`; false if there is nothing to deliver."""
        ...

    def begin(self, place: Place, offset: int) -> None:
        """The message is handed to a consumer."""
        ...

    def settle(self, place: Place, offset: int) -> None:
        """The message is done."""
        ...

    def forget(self, place: Place, offset: int) -> None:
        """Nobody ever saw the message: it is delivered when it comes again."""
        ...


@dataclass(slots=True, eq=False)
class Delivery:
    """One message for one queue. A message of a transient queue has no source."""

    queue: str
    envelope: Envelope
    origin: Place | None = None
    offset: int = -1
    source: Source | None = None
    record: Record | None = None
    lane: int = 0
    key: bytes | None = None
    #: How often it was handed to a consumer before.
    deliveries: int = 0
    #: Lets the next message of the key come; true if there is one.
    release: Callable[[bytes], bool] | None = None

    def open(self) -> bool:
        """Whether it is to be delivered; from then on `envelope` is there."""
        return self.record is None or self.source is None or self.source.open(self)

    def begin(self) -> None:
        """It is handed to a consumer."""
        if self.source is not None and self.origin is not None:
            self.source.begin(self.origin, self.offset)
        self.deliveries += 1

    def settle(self) -> bool:
        """It is done; true if that lets another message come."""
        if self.source is not None and self.origin is not None:
            self.source.settle(self.origin, self.offset)
        return self.let_next()

    def drop(self) -> None:
        """Nobody ever saw it."""
        if self.source is not None and self.origin is not None:
            self.source.forget(self.origin, self.offset)

    def let_next(self) -> bool:
        """What is behind it in the order of its key may come; true if there is something."""
        release, self.release = self.release, None
        return release is not None and self.key is not None and release(self.key)


def oldest_first(deliveries: list[Delivery]) -> list[Delivery]:
    """By the time at which they were published; those of one partition stay in their order.

    librdkafka hands out one partition after the other, the last one first. Many are left so: of a
    backlog they are a small part, and their commits would be of all partitions each time.
    """
    if not 1 < len(deliveries) <= FEW:
        return deliveries
    latest: dict[Place | None, int] = {}
    timed = []
    for delivery in deliveries:
        published = delivery.record.timestamp()[1] if delivery.record is not None else 0
        latest[delivery.origin] = max(published, latest.get(delivery.origin, 0))
        timed.append((latest[delivery.origin], delivery))
    return [delivery for _, delivery in sorted(timed, key=itemgetter(0))]
