"""Exchanges and what is bound to them. Pure; AMQP 0-9-1, section 3.1."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from kafka_transport.errors import InvalidOption
from kafka_transport.native import Lock

__all__ = ["Binding", "Bindings", "matches"]

TYPES: Final = frozenset({"direct", "topic", "fanout"})


@dataclass(frozen=True)
class Binding:
    """A queue's wish for what an exchange gets under a routing key."""

    exchange: str
    routing_key: str
    queue: str


class Bindings:
    """A table of exchanges and bindings. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._lock: Final = Lock()
        self._types: Final[dict[str, str]] = {}
        self._bindings: Final[dict[Binding, None]] = {}

    def declare_exchange(self, exchange: str, kind: str) -> None:
        """Gives an exchange its type.

        Raises:
            InvalidOption: There is no such type here (`headers`).
        """
        if kind not in TYPES:
            raise InvalidOption(
                f"exchange {exchange!r} is of type {kind!r}: use one of {sorted(TYPES)}"
            )
        with self._lock:
            self._types[exchange] = kind

    def delete_exchange(self, exchange: str) -> None:
        """Drops the exchange with its bindings."""
        with self._lock:
            self._types.pop(exchange, None)
            for binding in [b for b in self._bindings if b.exchange == exchange]:
                del self._bindings[binding]

    def kind(self, exchange: str) -> str:
        """The exchange's type; `direct` for one that was never declared."""
        with self._lock:
            return self._types.get(exchange, "direct")

    def bind(self, binding: Binding) -> None:
        """Adds a binding; once is enough."""
        with self._lock:
            self._bindings[binding] = None

    def unbind(self, binding: Binding) -> None:
        """Takes a binding back, if it is there."""
        with self._lock:
            self._bindings.pop(binding, None)

    def delete_queue(self, queue: str) -> None:
        """Takes all bindings of a queue back."""
        with self._lock:
            for binding in [b for b in self._bindings if b.queue == queue]:
                del self._bindings[binding]

    def queues(self, exchange: str, routing_key: str) -> list[str]:
        """The queues that get what is published to `exchange` under `routing_key`, each once."""
        with self._lock:
            kind = self._types.get(exchange, "direct")
            return list(
                {
                    b.queue: None
                    for b in self._bindings
                    if b.exchange == exchange and matches(kind, b.routing_key, routing_key)
                }
            )


def matches(kind: str, pattern: str, routing_key: str) -> bool:
    """Whether a binding's key takes a message's, in an exchange of this type."""
    if kind == "fanout":
        return True
    if kind == "topic":
        return _topic_matches(_words(pattern), _words(routing_key))
    return pattern == routing_key


def _words(key: str) -> tuple[str, ...]:
    return tuple(key.split(".")) if key else ()


@lru_cache(maxsize=4096)
def _topic_matches(pattern: tuple[str, ...], words: tuple[str, ...]) -> bool:
    """`*` is one word, `#` any number of words, words are parted by dots."""
    if not pattern:
        return not words
    if pattern[0] == "#":
        return any(_topic_matches(pattern[1:], words[i:]) for i in range(len(words) + 1))
    return bool(words) and pattern[0] in ("*", words[0]) and _topic_matches(pattern[1:], words[1:])
