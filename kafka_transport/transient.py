"""The transient queues of one connection: which they are, what they are bound to, who gets what."""

import threading
from dataclasses import dataclass, field
from typing import Final

from kafka_transport.bindings import Binding, Bindings, matches
from kafka_transport.wire import Envelope

__all__ = ["TransientQueues"]


@dataclass(slots=True)
class _TransientQueue:
    auto_delete: bool
    bindings: set[Binding] = field(default_factory=set)


class TransientQueues:
    """Read by the tail's thread, written by the connection's."""

    def __init__(self, exchanges: Bindings) -> None:
        self._exchanges: Final = exchanges
        self._lock: Final = threading.Lock()
        self._queues: Final[dict[str, _TransientQueue]] = {}

    def declare(self, queue: str, *, auto_delete: bool) -> None:
        """Adds a queue; nothing happens if it is there."""
        with self._lock:
            self._queues.setdefault(queue, _TransientQueue(auto_delete))

    def delete(self, queue: str) -> None:
        """Drops a queue with its bindings."""
        with self._lock:
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

    def matching(self, envelope: Envelope) -> list[str]:
        """The queues that get this message."""
        exchange, key = envelope.exchange, envelope.routing_key
        if not exchange:
            return [key] if key in self else []
        kind = self._exchanges.kind(exchange)
        with self._lock:
            return [
                name
                for name, queue in self._queues.items()
                if any(
                    b.exchange == exchange and matches(kind, b.routing_key, key)
                    for b in queue.bindings
                )
            ]
