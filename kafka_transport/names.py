"""From the names of queues and exchanges to those of topics, and back.

A topic's name has 1 to 249 of ``A-Z a-z 0-9 . _ -``. Ordinary names stay as they are; in the others
each character in question becomes ``_x<hex>_``, so that no two queues share a topic, and no queue
gets the name of what this transport puts beside one (``<queue>.delay``) or of a topic of Kafka's own.
"""

import re
from hashlib import sha256
from typing import Final

from kafka_transport.errors import InvalidName

__all__ = ["exchange_topic", "queue_of", "queue_topic"]

#: Kafka's limit, less the longest suffix (``.exchange``) and some room.
MAX_LENGTH: Final = 249 - 16

#: AMQP's exchange without a name has a topic too, for replies sent straight to a transient queue.
DEFAULT_EXCHANGE: Final = "default"

_EXCHANGE: Final = ".exchange"

_TO_ESCAPE: Final = re.compile(
    r"[^A-Za-z0-9._-]"
    # What would be read as an escape, by itself or with the escape that follows.
    r"|_(?=x[0-9a-f]*(?:[^A-Za-z0-9.-]|$))"
    # Kafka's own topics, `.` and `..`.
    r"|^_(?=[^A-Za-z0-9.-])|^\.(?=\.?$)"
    # What would be read as the end of a name that was cut.
    r"|h(?=[0-9a-f]{32}$)"
)

#: How the topics end that stand beside a queue's. Kafka refuses a topic that differs from another
#: only by ``.`` for ``_``, since both are the same in names of metrics.
_RESERVED: Final = re.compile(r"[._](?:bindings|delay|dlq|exchange|p[0-9])$")

_CUT: Final = re.compile(r"_h[0-9a-f]{32}$")

_ESCAPE: Final = re.compile(r"_x([0-9a-f]{1,6})_")


def queue_topic(queue: str, prefix: str = "") -> str:
    """The topic of a durable queue.

    Raises:
        InvalidName: The name is empty.
    """
    if not queue:
        raise InvalidName("a durable queue needs a name")
    return prefix + _escape(queue, MAX_LENGTH - len(prefix))


def exchange_topic(exchange: str, prefix: str = "") -> str:
    """The topic of what is published to an exchange for transient queues."""
    if exchange == DEFAULT_EXCHANGE:
        name = exchange[:-1] + _escaped(exchange[-1])
    else:
        name = _escape(exchange, MAX_LENGTH - len(prefix)) or DEFAULT_EXCHANGE
    return prefix + name + _EXCHANGE


def queue_of(topic: str, prefix: str = "") -> str | None:
    """The queue of a topic, for people to read; None if it is no queue's.

    Of a name that was cut the beginning is known, and ends in "...".
    """
    if not topic.startswith(prefix):
        return None
    name = topic.removeprefix(prefix)
    if not name or name.startswith("__") or _RESERVED.search(name):
        return None
    cut = _CUT.search(name)
    readable = name[: cut.start()] if cut else name
    return _ESCAPE.sub(_unescaped, readable) + ("..." if cut else "")


def _escape(name: str, limit: int) -> str:
    # Its last character, so that what comes out ends in no suffix of ours.
    last = name[-1] if _RESERVED.search(name) else ""
    body = name.removesuffix(last) if last else name
    topic = _TO_ESCAPE.sub(lambda found: _escaped(found[0]), body) + (last and _escaped(last))
    if len(topic) <= limit:
        return topic
    digest = sha256(name.encode(errors="surrogatepass")).hexdigest()[:32]
    return f"{topic[: limit - len(digest) - 2]}_h{digest}"


def _escaped(character: str) -> str:
    return f"_x{ord(character):x}_"


def _unescaped(escape: re.Match[str]) -> str:
    code = int(escape[1], 16)
    return chr(code) if code <= 0x10FFFF else escape[0]  # noqa: PLR2004  # the last code point
