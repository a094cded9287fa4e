"""A consumer on a queue, and how many messages it may have at a time. Pure."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kombu.transport import base

if TYPE_CHECKING:
    from kafka_transport.channel import Channel

__all__ = ["Prefetch", "Subscription"]


@dataclass(slots=True)
class Prefetch:
    """The limits of one channel; 0 is any number. RabbitMQ's reading of `basic.qos`."""

    #: Of each consumer.
    each: int = 0
    #: Of all consumers of the channel together.
    shared: int = 0
    #: Tags of the messages that consumers of the channel have; others are from `basic_get`.
    unacked: set[int] = field(default_factory=set)


@dataclass(slots=True, eq=False)
class Subscription:
    """One consumer on one queue."""

    tag: str
    queue: str
    callback: Callable[[base.Message], Any]
    no_ack: bool
    channel: "Channel" = field(repr=False)
    prefetch: Prefetch
    #: Tags of the messages that it has.
    unacked: set[int] = field(default_factory=set)

    @property
    def has_room(self) -> bool:
        """Whether it may have another message."""
        limits = self.prefetch
        return self.no_ack or (
            (not limits.each or len(self.unacked) < limits.each)
            and (not limits.shared or len(limits.unacked) < limits.shared)
        )
