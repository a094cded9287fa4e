"""How a message stands in a Kafka record.

The record's value is the message's body as it is; its key is the partition key; its headers are
text, so that ``kcat -f '%h %s'`` reads them and any language can publish:

| record header      | meaning                                   | when absent        |
|--------------------|-------------------------------------------|--------------------|
| `content-type`     | media type of the body                    | `application/json` |
| `content-encoding` | its encoding                              | `utf-8`            |
| `exchange`         | AMQP exchange it was published to         | the default one    |
| `routing-key`      | AMQP routing key                          | empty              |
| `headers`          | message headers, a JSON object            | none               |
| `properties`       | message properties, a JSON object         | none               |
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from sys import intern
from typing import Any, Final, TypedDict, cast

from confluent_kafka import Message as Record
from kombu.utils.json import JSONEncoder, loads

__all__ = [
    "Envelope",
    "PreparedMessage",
    "RecordHeaders",
    "decode",
    "encode",
    "message_id",
    "read_json",
    "record_headers",
]


def _encoder() -> Callable[[object], str]:
    """What kombu's `dumps` does, with encoders made once, not two for each call."""
    encoder = JSONEncoder()
    written_in_c: Any = json.encoder
    make = written_in_c.c_make_encoder
    if make is None:
        return encoder.encode
    # As JSONEncoder.iterencode() makes it, with nothing sorted or skipped and NaN allowed, but
    # without a table of what it is in the midst of: what holds itself is a RecursionError.
    text = written_in_c.encode_basestring_ascii
    parts = make(None, encoder.default, text, None, ": ", ", ", *(False, False, True))
    return lambda value: "".join(parts(value, 0))


_json: Final = _encoder()

_read: Final = json.JSONDecoder().raw_decode

#: Record headers that are a message's; others are left alone.
_NAMES: Final = frozenset(
    {"content-type", "content-encoding", "exchange", "routing-key", "headers", "properties"}
)

RecordHeaders = list[tuple[str, str | bytes | None]]


class PreparedMessage(TypedDict):
    """A message between kombu's `prepare_message` and `basic_publish`."""

    body: str | bytes
    content_type: str | None
    content_encoding: str | None
    headers: dict[str, Any]
    properties: dict[str, Any]


def message_id(message: PreparedMessage) -> str:
    """Celery's task id, or else the correlation id; empty if it has none."""
    found = message["headers"].get("id") or message["properties"].get("correlation_id")
    return str(found or "")


@dataclass(slots=True)
class Envelope:
    """A record read back, for one queue."""

    body: bytes
    exchange: str = ""
    routing_key: str = ""
    content_type: str = "application/json"
    content_encoding: str = "utf-8"
    headers: dict[str, Any] = field(default_factory=dict)
    properties: dict[str, Any] = field(default_factory=dict)
    #: Milliseconds since the epoch at which the record was made.
    timestamp: int = 0


def encode(
    message: PreparedMessage, exchange: str, routing_key: str
) -> tuple[bytes, bytes | None, RecordHeaders]:
    """Value, key and headers of the record for one message."""
    body, properties = message["body"], message["properties"]
    key = properties.get("partition_key") or message["headers"].get("partition_key")
    headers: RecordHeaders = [
        ("content-type", message["content_type"] or "application/data"),
        ("content-encoding", message["content_encoding"] or "binary"),
        ("routing-key", routing_key),
        ("headers", _json(message["headers"])),
        ("properties", _json(properties)),
    ]
    if exchange:
        headers.append(("exchange", exchange))
    value = body.encode() if isinstance(body, str) else bytes(body)
    return value, str(key).encode() if key is not None else None, headers


def record_headers(record: Record) -> RecordHeaders:
    """A record's headers, to be sent on."""
    return [
        (str(name), bytes(value) if isinstance(value, bytes | bytearray) else value)
        for name, value in cast("RecordHeaders", record.headers() or [])
    ]


def decode(record: Record) -> Envelope:
    """Reads any record; what it lacks takes its default.

    Raises:
        ValueError: A header is no text, or `headers` or `properties` is no JSON object.
    """
    texts = {
        name: value.decode() if isinstance(value, bytes) else value
        for name, value in cast("RecordHeaders", record.headers() or ())
        if name in _NAMES
    }
    return Envelope(
        record.value() or b"",
        texts.get("exchange") or "",
        texts.get("routing-key") or "",
        texts.get("content-type") or "application/json",
        texts.get("content-encoding") or "utf-8",
        _json_object("headers", texts.get("headers")),
        _json_object("properties", texts.get("properties")),
        record.timestamp()[1],
    )


def _json_object(name: str, text: str | None) -> dict[str, Any]:
    if text is None:
        return {}
    # kombu marks what JSON has no type for; its reader of that costs ten times as much.
    found = loads(text) if '"__type__"' in text else read_json(text)
    if not isinstance(found, dict):
        raise ValueError(f"record header {name!r} is not a JSON object")  # noqa: TRY004
    # One text for each name and value in the process: a message has some thirty of them, three of
    # which are its id, and thousands wait.
    return {
        intern(name): intern(value) if type(value) is str else value
        for name, value in found.items()
    }


def read_json(text: str) -> Any:
    """`json.loads`, which looks for white space around the text with two regular expressions.

    Raises:
        ValueError: It is no JSON.
    """
    if text.startswith(("{", "[")):
        found, end = _read(text)
        if end == len(text):
            return found
    return json.loads(text)
