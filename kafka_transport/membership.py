"""How a consumer belongs to its group: librdkafka's properties for it.

The classic protocol is the default. With KIP-848 the session timeout is the broker's, 45 s, and a
member that joins a group waited 5 s in our measurement for the others' next heartbeat (classic: 2 s).
"""

import re
import socket
from typing import Any, Final

from kafka_transport.config import CONSUMER_PROPERTIES, Options
from kafka_transport.errors import InvalidOption

__all__ = ["group_properties", "instance_id"]

#: Seconds after which a vanished member is given up: the shortest that brokers allow by default
#: (`group.min.session.timeout.ms`).
CLASSIC: Final[dict[str, Any]] = {
    "partition.assignment.strategy": "cooperative-sticky",
    "session.timeout.ms": 6000,
    "heartbeat.interval.ms": 2000,
}

#: What librdkafka may hold for a queue beside `max_buffered`: by default it is 64 MB.
FETCHING: Final[dict[str, Any]] = {
    "queued.min.messages": 2_000,
    "queued.max.messages.kbytes": 8_192,
}


def group_properties(options: Options, *, passing: bool = False) -> dict[str, Any]:
    """Properties of a member; one that is passing (`basic_get`) is never a static one."""
    properties = {**CONSUMER_PROPERTIES, **FETCHING}
    if options.group_protocol == "consumer":
        properties["group.protocol"] = "consumer"
    else:
        properties |= CLASSIC
    if options.group_instance_id and not passing:
        properties["group.instance.id"] = instance_id(options.group_instance_id)
    return properties


def instance_id(template: str) -> str:
    """The static member's name (KIP-345): `%h` is the host's name, `%%` a percent sign.

    Raises:
        InvalidOption: The template has another placeholder.
    """

    def fill(match: "re.Match[str]") -> str:
        filled = {"%h": socket.gethostname(), "%%": "%"}.get(match[0])
        if filled is None:
            raise InvalidOption(
                f"group_instance_id {template!r}: {match[0]!r} is unknown, use %h for the host's name"
            )
        return filled

    return re.sub(r"%.?", fill, template)
