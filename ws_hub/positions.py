"""Where in a channel a message stands: pure."""

import re
from typing import Final, NamedTuple

from ws_hub.errors import BadMessage

# An epoch has no dot, an offset no more digits than a JavaScript number holds exactly.
_POSITION: Final = re.compile(r"([A-Za-z0-9_-]{1,32})\.([0-9]{1,15})", re.ASCII)


class Position(NamedTuple):
    """A place in a channel's history; as text `<epoch>.<offset>`, which clients get as `id`."""

    #: Random, made when the history begins: offsets of two epochs say nothing of each other.
    epoch: str
    #: 1 for the epoch's first message; 0 stands before it.
    offset: int

    def __str__(self) -> str:
        return f"{self.epoch}.{self.offset}"


def parse_position(text: object) -> Position:
    """The position that a client names.

    Raises:
        BadMessage: It is none.
    """
    found = _POSITION.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise BadMessage("an id is <epoch>.<offset>, as it came with a message")
    return Position(found[1], int(found[2]))
