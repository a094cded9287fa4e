"""Messages of version 2, and docs/asyncapi.yaml, which describes them."""

import contextlib
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ws_hub import protocol, protocol2
from ws_hub.errors import BadMessage
from ws_hub.positions import Position, parse_position
from ws_hub.published import parse_published

ROOT = Path(__file__).parents[3]
AT = Position("abcDEF-_", 12)
API: dict[str, Any] = yaml.safe_load((ROOT / "docs/asyncapi.yaml").read_text())
PAYLOADS = {name: one["payload"] for name, one in API["components"]["messages"].items()}

SENT = [
    protocol2.welcome("alice", 20.0),
    protocol2.welcome(None, 20.0),
    protocol2.subscribed("user.alice", AT, recovered=True, seen=AT),
    protocol2.subscribed("user.alice", AT, recovered=None, seen=None),
    protocol2.unsubscribed("user.alice"),
    protocol2.authenticated(datetime.now(UTC)),
    protocol2.authenticated(None),
    protocol2.error("wrong"),
    protocol2.error("wrong", "user"),
    protocol.ping(),
    protocol.pong(),
    json.loads(parse_published("user.a", b'e.1 {"type":"data","data":"x"}').numbered()),
    json.loads(parse_published("user.a", b'{"type":"data","data":"x"}').numbered()),
]
TYPES = {str: "string", bool: "boolean", type(None): "null", int: "number", float: "number"}


def names_of(operation: str) -> set[str]:
    return {one["$ref"].rpartition("/")[2] for one in API["operations"][operation]["messages"]}


@pytest.mark.parametrize("message", SENT, ids=lambda message: message["type"])
def test_what_the_hub_sends_is_what_the_document_says(message: dict[str, Any]) -> None:
    payload = PAYLOADS[message["type"]]
    assert set(payload["required"]) <= set(message) <= set(payload["properties"])
    for name, value in message.items():
        schema = payload["properties"][name]
        if "$ref" in schema:
            schema = API["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        if "const" in schema:
            assert value == schema["const"]
            continue
        allowed = schema["type"]
        assert TYPES[type(value)] in (allowed if isinstance(allowed, list) else [allowed])
        if isinstance(value, str) and "pattern" in schema:
            assert re.fullmatch(schema["pattern"], value)


def test_every_message_of_the_document_is_one_of_the_hub_s_and_the_reverse() -> None:
    assert names_of("toClient") == {message["type"] for message in SENT}
    assert names_of("fromClient") == set(protocol2.CLIENT_TYPES)
    assert set(PAYLOADS) == names_of("toClient") | names_of("fromClient")


@pytest.mark.parametrize("kind", protocol2.CLIENT_TYPES)
def test_what_the_document_lets_a_client_send_is_understood(kind: str) -> None:
    values = {"type": kind, "channel": "user", "id": str(AT), "since": str(AT), "token": "t"}
    payload = PAYLOADS[kind]
    message = {name: values[name] for name in payload["properties"]}
    protocol2.parse_command(json.dumps(message))
    protocol2.parse_command(json.dumps({name: values[name] for name in payload["required"]}))
    for name in set(payload["required"]) - {"type"}:
        with pytest.raises(BadMessage):
            protocol2.parse_command(json.dumps({k: v for k, v in message.items() if k != name}))


@given(st.text())
def test_a_bad_message_is_the_only_way_parsing_fails(text: str) -> None:
    for parse in (protocol2.parse_command, parse_position):
        with contextlib.suppress(BadMessage):
            parse(text)
    with contextlib.suppress(BadMessage):
        protocol2.parse_since([text], ["a", "b"])


@given(st.binary())
def test_nothing_that_is_published_breaks_the_hub(payload: bytes) -> None:
    with contextlib.suppress(BadMessage):
        parse_published("anon.x", payload)


def test_since_goes_to_its_channel() -> None:
    assert protocol2.parse_since(["e.1"], ["a"]) == {"a": Position("e", 1)}
    both = {"a": Position("e", 1), "b": Position("f", 2)}
    assert protocol2.parse_since(["a:e.1", "b:f.2"], ["a", "b"]) == both
    assert protocol2.parse_since(["a:e.1,b:f.2"], ["a", "b"]) == both
    for wrong in (["e.1"], ["c:e.1"]):
        with pytest.raises(BadMessage):
            protocol2.parse_since(wrong, ["a", "b"])


@given(st.text(min_size=1))
def test_a_redis_channel_leads_back_to_its_channel_whatever_a_sub_has_in_it(sub: str) -> None:
    name = protocol.redis_channel(protocol.user_channel(sub))
    assert "{" not in name
    assert "}" not in name
    assert protocol.channel_of_redis(name) == protocol.user_channel(sub)
