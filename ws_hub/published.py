"""A message as it comes from Redis, live or from history."""

import json
from typing import Any, Final

from ws_hub import protocol
from ws_hub.errors import BadMessage
from ws_hub.positions import Position, parse_position

#: What `status` is in the data of what has not ended: of a request, and of a job.
_UNDER_WAY: Final = ("progress", "PENDING", "RUNNING")


class Published:
    """One message of one channel; many sockets may share it."""

    __slots__ = ("_channel", "_message", "_numbered", "position", "text")

    def __init__(
        self, channel: str, text: str, message: dict[str, Any], position: Position | None
    ) -> None:
        self._channel: Final = channel
        self._message: Final = message
        self._numbered: str | None = None
        #: As it was published; what clients of version 1 get.
        self.text: Final = text
        #: None: some program published it without history.
        self.position: Final = position

    def numbered(self) -> str:
        """What clients of version 2 get: with the channel and the id."""
        if self._numbered is None:
            message = dict(self._message)
            named: dict[str, Any] = {
                "type": message.pop("type"),
                "channel": protocol.shown_channel(self._channel),
            }
            if self.position is not None:
                named["id"] = str(self.position)
            self._numbered = protocol.encode(named | message)
        return self._numbered

    def is_progress(self) -> bool:
        """Whether it tells of a request or a job that has not ended."""
        data = self._message.get("data")
        if not isinstance(data, str) or not any(status in data for status in _UNDER_WAY):
            return False
        try:
            told = json.loads(data)
        except (ValueError, RecursionError):
            return False
        return isinstance(told, dict) and told.get("status") in _UNDER_WAY

    def field(self, name: str) -> Any:
        """A field of the message; None without it."""
        return self._message.get(name)


def parse_published(channel: str, payload: bytes) -> Published:
    """What came over Redis pub/sub: `<id> <message>`, or the message alone.

    Raises:
        BadMessage: It is not a JSON object with a `type`, so some other program published it.
    """
    if payload.startswith(b"{"):
        return from_history(channel, None, payload)
    place, _, message = payload.partition(b" ")
    return from_history(channel, parse_position(place.decode("latin-1")), message)


def from_history(channel: str, position: Position | None, payload: bytes) -> Published:
    """A message and its place.

    Raises:
        BadMessage: The message is not a JSON object with a `type`.
    """
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        raise BadMessage("the published message is not UTF-8") from None
    return Published(channel, text, protocol.parse_message(text, "the published message"), position)
