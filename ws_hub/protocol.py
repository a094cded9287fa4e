"""Names and messages of the hub's protocol: pure, no I/O.

A channel is one receiver's mailbox. Its internal name is `user.<sub>` or `anon.<name>`; the
prefix keeps a user whose `sub` reads like an anonymous channel's name, and the reverse, apart.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, Final, Literal
from urllib.parse import unquote

from ws_hub.errors import BadChannel, BadMessage

#: RFC 6455 7.4.1: not allowed (token, origin, channel).
CLOSE_NOT_ALLOWED: Final = 1008
#: RFC 6455 7.4.1: the client's message is larger than the hub takes.
CLOSE_TOO_BIG: Final = 1009
#: RFC 6455 7.4.1: the hub failed.
CLOSE_INTERNAL_ERROR: Final = 1011
#: IANA WebSocket close codes: the hub restarts; connect again.
CLOSE_RESTART: Final = 1012
#: IANA WebSocket close codes: try again later (reads too slowly, or Redis is away).
CLOSE_TRY_AGAIN_LATER: Final = 1013

#: Carries what concerns all hubs. It has no `user.` or `anon.` in front, so it is nobody's channel.
HUBS: Final = "hub"

#: RFC 6455 5.5: a control frame carries 125 bytes, two of them the close code.
CLOSE_REASON_BYTES: Final = 123

_ANONYMOUS_NAME = re.compile(r"[A-Za-z0-9_-]{16,128}", re.ASCII)
_USER_PREFIX = "user."
_ANONYMOUS_PREFIX = "anon."
_REDIS_PREFIX = "ws_hub:"
_ESCAPES = str.maketrans({"{": "%7B", "}": "%7D", "%": "%25"})
# `json.dumps` makes an encoder for each text that is not as its defaults have it.
_encode = json.JSONEncoder(separators=(",", ":")).encode


def is_anonymous_name(name: str) -> bool:
    """Whether `name` is a legal anonymous channel: 16 to 128 characters of A-Z a-z 0-9 _ -."""
    return _ANONYMOUS_NAME.fullmatch(name) is not None


def anonymous_channel(name: str) -> str:
    """The internal name of an anonymous channel.

    Raises:
        BadChannel: `name` is not 16 to 128 characters of A-Z a-z 0-9 _ -.
    """
    if not is_anonymous_name(name):
        raise BadChannel("a channel name has 16 to 128 characters of A-Z a-z 0-9 _ -")
    return _ANONYMOUS_PREFIX + name


def user_channel(sub: str) -> str:
    """The internal name of the channel of the user that tokens call `sub`.

    Raises:
        BadChannel: `sub` is empty.
    """
    if not sub:
        raise BadChannel("a user's channel needs the token's sub, and that is empty")
    return _USER_PREFIX + sub


def user_of_channel(channel: str) -> str | None:
    """The `sub` of the user whose channel it is; None for an anonymous one."""
    return channel.removeprefix(_USER_PREFIX) if channel.startswith(_USER_PREFIX) else None


def shown_channel(channel: str) -> str:
    """The name clients see: an anonymous channel's bare name, else the internal one.

    The two cannot be mistaken: `user.` has a dot, which no anonymous name has.
    """
    return channel.removeprefix(_ANONYMOUS_PREFIX)


def redis_channel(channel: str) -> str:
    """The Redis pub/sub channel that carries an internal channel.

    Braces are written as %7B and %7D: in a Redis Cluster they would choose the slot, and a user's
    `sub` may have some.
    """
    return _REDIS_PREFIX + channel.translate(_ESCAPES)


def channel_of_redis(name: str) -> str:
    """The internal channel that a Redis pub/sub channel carries."""
    channel = name.removeprefix(_REDIS_PREFIX)
    return unquote(channel) if "%" in channel else channel


def completed(task_id: str, status: str = "completed") -> dict[str, Any]:
    """What a client hears when a task has ended and its result can be read.

    `data` is a JSON string inside the JSON message: front ends of earlier systems parse it so.
    """
    data = {"task_id": task_id, "status": status, "action": "async_request"}
    return {"type": "data", "data": json.dumps(data)}


def subscribed(channel: str) -> dict[str, Any]:
    """Tells the client that from now on nothing published to `channel` is missed.

    Sent again after the hub lost Redis and has it back: what was published in between is gone,
    so a client that waits for results should then ask for them.
    """
    return {"type": "subscribed", "channel": shown_channel(channel)}


def ping() -> dict[str, Any]:
    """Either side may send it; the other answers `pong`."""
    return {"type": "ping"}


def pong() -> dict[str, Any]:
    """The answer to `ping`."""
    return {"type": "pong"}


def error(detail: str) -> dict[str, Any]:
    """Tells the client what was wrong with a message it sent; the socket stays open."""
    return {"type": "error", "detail": detail}


def encode(message: Mapping[str, Any]) -> str:
    """A message as it travels, through Redis and to the client."""
    return _encode(message)


def parse_client(text: str) -> Literal["ping", "pong"]:
    """The type of a client's message.

    Raises:
        BadMessage: It is none of the messages a client may send.
    """
    kind: str = parse_message(text, "the message")["type"]
    match kind:
        case "ping" | "pong":
            return kind
        case _:
            raise BadMessage('unknown type: a client may send {"type": "ping"} or {"type": "pong"}')


def close_reason(reason: str) -> str:
    """`reason` cut to what a close frame can carry, never inside a character."""
    return reason.encode()[:CLOSE_REASON_BYTES].decode(errors="ignore")


def parse_message(text: str, what: str) -> dict[str, Any]:
    """A message of either direction, as an object that has a `type`.

    Raises:
        BadMessage: It is none; the text begins with `what`.
    """
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        raise BadMessage(f"{what} is not JSON") from None
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise BadMessage(f'{what} is not a JSON object with a "type"')
    return message
