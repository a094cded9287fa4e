"""Secrets among the transport options, kept from those who look at a connection.

A worker answers ``inspect stats`` with its connection's options, over Kafka and in clear; Flower
shows them on a page. Celery takes the password of the URL out of that answer and nothing else. So a
connection holds such an option as a text that reads ``********`` and knows the real one.
"""

import re
from collections.abc import Mapping
from typing import Any, Final, Self

__all__ = ["Hidden", "hide", "reveal"]

#: Names of librdkafka's properties whose value is a secret, or holds one.
_SECRET: Final = re.compile(r"pass|secret|key\.pem|jaas|oauthbearer\.config", re.IGNORECASE)
_PROPERTIES: Final = ("kafka_common_config", "kafka_producer_config", "kafka_consumer_config")
_CALLBACK: Final = "oauth_callback"
_MASK: Final = "********"


class Hidden(str):
    """Reads as a mask, in JSON too; `value` is what it stands for."""

    __slots__ = ("value",)

    value: Any

    def __new__(cls, value: Any, shown: str = _MASK) -> Self:
        """Args: what it stands for, and what is read."""
        made = super().__new__(cls, shown)
        made.value = value
        return made

    def __repr__(self) -> str:
        # kombu tells connections apart by the repr of their options; hash() is salted.
        return f"<{self!s} {hash(self.value)}>"


def hide(options: Mapping[str, Any]) -> dict[str, Any]:
    """The transport options with their secrets hidden; what is hidden already stays so."""
    hidden = dict(options)
    for name in _PROPERTIES:
        if isinstance(properties := hidden.get(name), Mapping):
            hidden[name] = {
                key: value
                if isinstance(value, Hidden) or not _SECRET.search(str(key))
                else Hidden(value)
                for key, value in properties.items()
            }
    callback = hidden.get(_CALLBACK)
    if callable(callback):
        # No secret, but nothing that an answer can carry.
        hidden[_CALLBACK] = Hidden(callback, getattr(callback, "__qualname__", _CALLBACK))
    return hidden


def reveal(options: Mapping[str, Any]) -> dict[str, Any]:
    """The transport options as they were given."""
    return {
        name: {key: _real(each) for key, each in value.items()}
        if name in _PROPERTIES and isinstance(value, Mapping)
        else _real(value)
        for name, value in options.items()
    }


def _real(value: Any) -> Any:
    return value.value if isinstance(value, Hidden) else value
