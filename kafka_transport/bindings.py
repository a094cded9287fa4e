"""Exchanges and what is bound to them. Pure; AMQP 0-9-1, section 3.1."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from amqp.exceptions import PreconditionFailed

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
        #: Exchanges declared in this process, by their type.
        self._declared: Final[dict[str, str]] = {}
        #: Bindings by exchange, each with the type that the exchange had.
        self._bound: Final[dict[str, dict[Binding, str]]] = {}
        #: Another number after each change.
        self.version = 0

    def declare_exchange(self, exchange: str, kind: str) -> None:
        """Gives an exchange its type.

        Raises:
            InvalidOption: There is no such type here (`headers`).
            PreconditionFailed: The exchange is there with another type, as RabbitMQ has it.
        """
        if kind not in TYPES:
            raise InvalidOption(
                f"exchange {exchange!r} is of type {kind!r}: use one of {sorted(TYPES)}"
            )
        with self._lock:
            known = self._kind(exchange)
            if known not in (None, kind):
                raise PreconditionFailed(
                    f"exchange {exchange!r} is declared as {kind} and is {known} already: "
                    "delete it first, or declare it alike everywhere"
                )
            if known is None:
                self.version += 1
                self._declared[exchange] = kind

    def delete_exchange(self, exchange: str) -> None:
        """Drops the exchange with its bindings."""
        with self._lock:
            self.version += 1
            self._declared.pop(exchange, None)
            self._bound.pop(exchange, None)

    def kind(self, exchange: str) -> str:
        """The exchange's type; `direct` for one that was never declared."""
        with self._lock:
            return self._kind(exchange) or "direct"

    def _kind(self, exchange: str) -> str | None:
        bound = self._bound.get(exchange)
        return next(iter(bound.values())) if bound else self._declared.get(exchange)

    def bind(self, binding: Binding, kind: str | None = None) -> None:
        """Adds a binding; once is enough. `kind`: the exchange's type, if it is not as declared."""
        with self._lock:
            kind = kind or self._kind(binding.exchange) or "direct"
            self.version += 1
            self._bound.setdefault(binding.exchange, {})[binding] = kind

    def unbind(self, binding: Binding) -> None:
        """Takes a binding back, if it is there."""
        with self._lock:
            bound = self._bound.get(binding.exchange, {})
            if bound.pop(binding, None) is not None:
                self.version += 1
            if not bound:
                self._bound.pop(binding.exchange, None)

    def delete_queue(self, queue: str) -> None:
        """Takes all bindings of a queue back."""
        for binding in self.of_queue(queue):
            self.unbind(binding)

    def of_queue(self, queue: str) -> list[Binding]:
        """What a queue is bound to."""
        with self._lock:
            return [b for bound in self._bound.values() for b in bound if b.queue == queue]

    def of_exchange(self, exchange: str) -> list[Binding]:
        """What is bound to an exchange."""
        with self._lock:
            return list(self._bound.get(exchange, ()))

    def queues(self, exchange: str, routing_key: str) -> list[str]:
        """The queues that get what is published to `exchange` under `routing_key`, each once."""
        kind = self.kind(exchange)
        return list(
            {
                b.queue: None
                for b in self.of_exchange(exchange)
                if matches(kind, b.routing_key, routing_key)
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
