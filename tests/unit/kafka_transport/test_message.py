"""A message's body is read as kombu reads it."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from kombu.exceptions import ContentDisallowed, DecodeError
from kombu.serialization import registry  # type: ignore[attr-defined]
from kombu.transport import base
from kombu.utils.json import dumps

from kafka_transport.message import Message

JSON = {"content_type": "application/json", "content_encoding": "utf-8"}


def message(body: object, **options: Any) -> Message:
    return Message(body, **(JSON | options))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "body",
    [
        json.dumps([[1, "ä"], {"a": None}, {}]).encode(),
        dumps([[datetime(2026, 1, 1, tzinfo=UTC)], {}, {}]).encode(),
        dumps([[b"\xff"], {"__type__": 1}, {}]).encode(),
        b" [1, {}] ",
        b"1.5",
        b"",
    ],
)
def test_it_is_what_kombu_makes_of_it(body: bytes) -> None:
    kombus = base.Message(body, **JSON)  # type: ignore[arg-type]
    assert message(body).payload == kombus.payload


@pytest.mark.parametrize("body", [b"{", b"\xff", b"[1] [2]"])
def test_what_cannot_be_read_is_kombus_error(body: bytes) -> None:
    with pytest.raises(DecodeError):
        assert message(body).payload


def test_json_that_is_not_accepted_is_refused() -> None:
    with pytest.raises(ContentDisallowed):
        assert message(b"[]", accept={"application/x-yaml"}).payload


def test_a_projects_own_reader_of_json_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._decoders, "application/json", lambda _: "its own")
    assert message(b"[1]").payload == "its own"
