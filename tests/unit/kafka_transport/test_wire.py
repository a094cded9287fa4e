"""Records as they stand in Kafka: what is written, and what is read of whatever stands there."""

import json
import uuid
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, cast

import pytest
from confluent_kafka import Message as Record
from kombu.utils.json import dumps, loads

from kafka_transport.wire import PreparedMessage, decode, encode

VALUES: list[Any] = [
    {},
    {"a": [1, 2.5, True, None, "ä\n\"'\ud83d\ude00"], "nested": {"x": {}}},
    {"id": uuid.UUID(int=7), "at": datetime(2026, 1, 2, tzinfo=UTC), "day": date(2026, 1, 2)},
    {"price": Decimal("1.10"), "nan": float("nan"), 3: "three", None: "none"},
]


class Stored:
    """A record as it comes back from Kafka."""

    def __init__(self, *headers: tuple[str, bytes | None]) -> None:
        self._headers = list(headers)

    def headers(self) -> list[tuple[str, bytes | None]]:
        return self._headers

    def value(self) -> bytes:
        return b"body"

    def timestamp(self) -> tuple[int, int]:
        return 1, 42


def stored(*headers: tuple[str, bytes | None]) -> Record:
    return cast("Record", Stored(*headers))


def prepared(headers: dict[str, Any]) -> PreparedMessage:
    return {
        "body": b"body", "content_type": None, "content_encoding": None, "headers": headers,
        "properties": {},
    }  # fmt: skip


@pytest.mark.parametrize("value", VALUES)
def test_headers_are_written_as_kombu_writes_json(value: Any) -> None:
    _, _, headers = encode(prepared(value), "", "tasks")
    text = str(dict(headers)["headers"])
    assert text == dumps(value)
    read = decode(stored(("headers", text.encode()))).headers
    assert repr(read) == repr(loads(text))


def test_what_holds_itself_is_refused() -> None:
    value: dict[str, Any] = {}
    value["self"] = value
    with pytest.raises((ValueError, RecursionError)):
        encode(prepared(value), "", "tasks")


def test_what_a_record_lacks_takes_its_default() -> None:
    envelope = decode(stored())
    assert (envelope.content_type, envelope.content_encoding) == ("application/json", "utf-8")
    assert (envelope.exchange, envelope.routing_key) == ("", "")
    assert (envelope.headers, envelope.properties) == ({}, {})
    assert (envelope.body, envelope.timestamp) == (b"body", 42)


def test_other_headers_need_not_be_text() -> None:
    assert decode(stored(("traceparent", b"\xff\xfe"), ("routing-key", b"a"))).routing_key == "a"


def test_white_space_around_an_object_does_no_harm() -> None:
    value = {"a": 1}
    text = f"\n {json.dumps(value)} \n".encode()
    assert decode(stored(("headers", text), ("properties", text.lstrip()))).headers == value


@pytest.mark.parametrize("text", [b"", b"[]", b"{} {}", b"{", b"nonsense", b"\xff", b"1"])
def test_headers_that_are_no_object_are_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        decode(stored(("headers", text)))


def test_what_many_messages_say_is_one_text_in_memory() -> None:
    header = b'{"task": "a task", "id": "an id", "root_id": "an id", "argsrepr": "(1,)"}'
    first, second = (decode(stored(("headers", header))).headers for _ in range(2))
    assert first["id"] is first["root_id"]
    assert all(first[name] is second[name] for name in first)
