"""The transient queues of one connection: which they are, what they are bound to, who gets what."""

import time
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from kafka_transport.arguments import QueueArguments
from kafka_transport.bindings import Binding, matches
from kafka_transport.delivery import Delivery
from kafka_transport.native import Lock
from kafka_transport.wire import Envelope

__all__ = ["TransientQueues"]


class _Kinds(Protocol):
    def kind(self, exchange: str) -> str: ...


@dataclass(slots=True)
class _TransientQueue:
    auto_delete: bool
    arguments: QueueArguments = field(default_factory=QueueArguments)
    bindings: set[Binding] = field(default_factory=set)
    consumed: bool = False
    #: When it was last declared, asked or consumed, in seconds of the monotonic clock.
    used_at: float = field(default_factory=time.monotonic)


class TransientQueues:
    """Read by the tail's thread, written by the connection's."""

    def __init__(self, exchanges: "_Kinds") -> None:
        self._exchanges: Final = exchanges
        self._lock: Final = Lock()
        self._queues: Final[dict[str, _TransientQueue]] = {}
        #: Another number each time a queue comes or goes.
        self.version = 0

    def declare(self, queue: str, arguments: QueueArguments, *, auto_delete: bool) -> None:
        """Adds a queue; one that is there is as good as new."""
        with self._lock:
            self.version += 1
            found = self._queues.setdefault(queue, _TransientQueue(auto_delete, arguments))
            found.used_at = time.monotonic()

    def used(self, queue: str, *, consumed: bool | None = None) -> None:
        """Somebody asked for a message, or began (`consumed`) or ceased to consume."""
        with self._lock:
            found = self._queues.get(queue)
            if found is not None:
                found.used_at = time.monotonic()
                found.consumed = found.consumed if consumed is None else consumed

    def expired(self, now: float) -> list[str]:
        """Queues that nobody used for as long as their `x-expires` says."""
        with self._lock:
            return [
                name
                for name, queue in self._queues.items()
                if queue.arguments.expires is not None
                and not queue.consumed
                and now - queue.used_at >= queue.arguments.expires / 1000
            ]

    def ttl(self, queue: str) -> int | None:
        """Milliseconds for which a message of the queue may be delivered; None is for ever."""
        with self._lock:
            found = self._queues.get(queue)
            return None if found is None else found.arguments.message_ttl

    def delete(self, queue: str) -> None:
        """Drops a queue with its bindings."""
        with self._lock:
            self.version += 1
            self._queues.pop(queue, None)

    def bind(self, binding: Binding) -> None:
        """Adds a binding to a declared queue."""
        with self._lock:
            self._queues[binding.queue].bindings.add(binding)

    def unbind(self, binding: Binding) -> None:
        """Takes a binding back."""
        with self._lock:
            self._queues[binding.queue].bindings.discard(binding)

    def deleted_with_last_consumer(self, queue: str) -> bool:
        """Whether the queue ends when nobody consumes it any more."""
        with self._lock:
            return queue in self._queues and self._queues[queue].auto_delete

    def __contains__(self, queue: str) -> bool:
        with self._lock:
            return queue in self._queues

    def exchanges(self) -> set[str]:
        """The exchanges to be heard; the nameless one reaches every queue."""
        with self._lock:
            bound = {b.exchange for queue in self._queues.values() for b in queue.bindings}
            return bound | {""} if self._queues else set()

    def deliveries(self, envelope: Envelope) -> list[Delivery]:
        """One for each queue that gets this message."""
        priority = envelope.properties.get("priority")
        return [
            Delivery(
                queue, _own(envelope) if copies else envelope, lane=self._lane(queue, priority)
            )
            for copies, queue in enumerate(self.bound(envelope.exchange, envelope.routing_key))
        ]

    def _lane(self, queue: str, priority: object) -> int:
        with self._lock:
            found = self._queues.get(queue)
            highest = 0 if found is None else found.arguments.max_priority
        return max(0, min(priority, highest)) if isinstance(priority, int) else 0

    def bound(self, exchange: str, routing_key: str) -> list[str]:
        """The queues that get what is published to `exchange` under `routing_key`."""
        if not exchange:
            return [routing_key] if routing_key in self else []
        kind = self._exchanges.kind(exchange)
        with self._lock:
            return [
                name
                for name, queue in self._queues.items()
                if any(
                    b.exchange == exchange and matches(kind, b.routing_key, routing_key)
                    for b in queue.bindings
                )
            ]


def _own(envelope: Envelope) -> Envelope:
    # A consumer may change the headers and properties of its message.
    return replace(
        envelope, headers=deepcopy(envelope.headers), properties=deepcopy(envelope.properties)
    )
