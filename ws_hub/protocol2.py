"""Messages of version 2 of the protocol, which numbers what it sends: pure, no I/O.

docs/asyncapi.yaml describes them. Version 1 (`protocol`) stays what front ends of earlier systems
know.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

from ws_hub.errors import BadMessage
from ws_hub.positions import Position, parse_position
from ws_hub.protocol import parse_message

#: The WebSocket subprotocol that asks for version 2, and is answered.
SUBPROTOCOL: Final = "respond-async.v2"
#: In front of a JWT that comes as a subprotocol, the one header a browser's script can set.
BEARER_PREFIX: Final = "bearer."
#: What a client calls the channel of the user it has logged in as.
USER: Final = "user"


@dataclass(frozen=True, slots=True)
class Subscribe:
    """From now on, or since a message: hear a channel."""

    channel: str
    since: Position | None


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """Hear a channel no more."""

    channel: str


@dataclass(frozen=True, slots=True)
class Ack:
    """Everything up to this message was seen."""

    channel: str
    position: Position


@dataclass(frozen=True, slots=True)
class Auth:
    """Log in, or go on with a token that ends later."""

    token: str


Command = Subscribe | Unsubscribe | Ack | Auth | Literal["ping", "pong"]
#: Every type a client may send.
CLIENT_TYPES: Final = ("subscribe", "unsubscribe", "ack", "auth", "ping", "pong")


def parse_command(text: str) -> Command:
    """What a client asks for.

    Raises:
        BadMessage: It is none of the messages a client may send.
    """
    message = parse_message(text, "the message")
    match message["type"]:
        case "ping":
            return "ping"
        case "pong":
            return "pong"
        case "subscribe":
            since = message.get("since")
            return Subscribe(
                _text(message, "channel"), None if since is None else parse_position(since)
            )
        case "unsubscribe":
            return Unsubscribe(_text(message, "channel"))
        case "ack":
            return Ack(_text(message, "channel"), parse_position(message.get("id")))
        case "auth":
            return Auth(_text(message, "token"))
        case _:
            raise BadMessage(f"unknown type: a client may send {', '.join(CLIENT_TYPES)}")


def parse_since(given: Sequence[str], names: Sequence[str]) -> dict[str, Position]:
    """Where each channel goes on, from a query or a `Last-Event-ID`.

    Args:
        given: `<id>` if there is one channel, else `<channel>:<id>`; several in one are
            separated by commas.
        names: The channels asked for.

    Raises:
        BadMessage: An id is none, or it is of no channel that was asked for.
    """
    positions = {}
    for one in (part.strip() for text in given for part in text.split(",")):
        if not one:
            continue
        name, colon, place = one.rpartition(":")
        if not colon:
            if len(names) != 1:
                raise BadMessage("with several channels each since is <channel>:<id>")
            name = names[0]
        if name not in names:
            raise BadMessage("since names a channel that is not asked for")
        positions[name] = parse_position(place)
    return positions


def welcome(user: str | None, ping_seconds: float) -> dict[str, Any]:
    """The first message: which version, what time it is here, how often the hub pings."""
    return {
        "type": "welcome",
        "protocol": 2,
        "time": _time(datetime.now(UTC)),
        "ping_seconds": ping_seconds,
        "user": user,
    }


def subscribed(
    shown: str, at: Position, *, recovered: bool | None, seen: Position | None
) -> dict[str, Any]:
    """What was missed has been sent; what comes from now on is live.

    Args:
        shown: The channel.
        at: The last message that was sent, or where the channel stands.
        recovered: False: messages are gone from history, so ask for your results; None: there
            was nothing to recover.
        seen: The last message that a client acknowledged.
    """
    return {
        "type": "subscribed",
        "channel": shown,
        "id": str(at),
        "recovered": recovered,
        "seen": None if seen is None else str(seen),
    }


def unsubscribed(shown: str) -> dict[str, Any]:
    """The channel is heard no more."""
    return {"type": "unsubscribed", "channel": shown}


def authenticated(expires_at: datetime | None) -> dict[str, Any]:
    """The token is taken; the socket is closed when it ends unless another comes before."""
    return {
        "type": "authenticated",
        "expires_at": None if expires_at is None else _time(expires_at),
    }


def error(detail: str, channel: str | None = None) -> dict[str, Any]:
    """What was wrong with a message; the socket stays open."""
    message: dict[str, Any] = {"type": "error", "detail": detail}
    return message if channel is None else message | {"channel": channel}


def _text(message: dict[str, Any], name: str) -> str:
    value = message.get(name)
    if not isinstance(value, str) or not value:
        raise BadMessage(f'{message["type"]} needs "{name}", a string')
    return value


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
