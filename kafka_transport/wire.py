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

from dataclasses import dataclass, field
from typing import Any, TypedDict, cast

from confluent_kafka import Message as Record
from kombu.utils.json import dumps, loads

__all__ = ["Envelope", "PreparedMessage", "RecordHeaders", "decode", "encode", "record_headers"]

RecordHeaders = list[tuple[str, str | bytes | None]]


class PreparedMessage(TypedDict):
    """A message between kombu's `prepare_message` and `basic_publish`."""

    body: str | bytes
    content_type: str | None
    content_encoding: str | None
    headers: dict[str, Any]
    properties: dict[str, Any]


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
        ("exchange", exchange),
        ("routing-key", routing_key),
        ("headers", dumps(message["headers"])),
        ("properties", dumps(properties)),
    ]
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
        str(name): value.decode() if isinstance(value, bytes) else str(value)
        for name, value in cast("RecordHeaders", record.headers() or [])
        if value is not None
    }
    return Envelope(
        body=record.value() or b"",
        exchange=texts.get("exchange", ""),
        routing_key=texts.get("routing-key", ""),
        content_type=texts.get("content-type", "application/json"),
        content_encoding=texts.get("content-encoding", "utf-8"),
        headers=_json_object("headers", texts),
        properties=_json_object("properties", texts),
        timestamp=record.timestamp()[1],
    )


def _json_object(name: str, texts: dict[str, str]) -> dict[str, Any]:
    value = loads(texts[name]) if name in texts else {}
    if not isinstance(value, dict):
        raise ValueError(f"record header {name!r} is not a JSON object")  # noqa: TRY004
    return value
