"""A queue's arguments, as RabbitMQ names them. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from kafka_transport.errors import InvalidOption
from kafka_transport.lanes import HIGHEST_LANE

__all__ = ["QueueArguments"]

_LONGEST: Final = 2**32


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueArguments:
    """What a queue was declared with."""

    #: `x-max-priority`: the highest lane; 0 is a queue without priorities.
    max_priority: int = 0
    #: `x-message-ttl`: milliseconds after which a message is not delivered any more.
    message_ttl: int | None = None
    #: `x-expires`: milliseconds after which a transient queue without a consumer is forgotten.
    expires: int | None = None
    #: `x-key-order`: messages of one key run one at a time; None leaves it to the options.
    key_order: bool | None = None

    @classmethod
    def of(cls, arguments: Mapping[str, Any] | None) -> Self:
        """Reads what kombu gives to `queue_declare`; arguments without a meaning here are left.

        Raises:
            InvalidOption: One of ours has a value that cannot be used.
        """
        given = arguments or {}
        key_order = given.get("x-key-order")
        if key_order not in (None, True, False):
            raise InvalidOption(f"queue argument x-key-order is {key_order!r}: use true or false")
        return cls(
            max_priority=min(_number(given, "x-max-priority", 0, 255) or 0, HIGHEST_LANE),
            message_ttl=_number(given, "x-message-ttl", 0, _LONGEST),
            expires=_number(given, "x-expires", 1, _LONGEST),
            key_order=key_order,
        )


def _number(arguments: Mapping[str, Any], name: str, lowest: int, highest: int) -> int | None:
    value = arguments.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not lowest <= value <= highest:
        raise InvalidOption(
            f"queue argument {name} is {value!r}: use a number from {lowest} to {highest}"
        )
    return value
