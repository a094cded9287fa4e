import contextlib
import json
import string

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ws_hub import protocol
from ws_hub.errors import BadChannel, BadMessage
from ws_hub.published import parse_published

LEGAL = string.ascii_letters + string.digits + "_-"


def test_the_completion_message_is_the_one_earlier_front_ends_parse() -> None:
    message = protocol.completed("0b5c")
    assert message == {
        "type": "data",
        "data": '{"task_id": "0b5c", "status": "completed", "action": "async_request"}',
    }


@given(st.text(alphabet=LEGAL, min_size=16, max_size=128))
def test_every_legal_anonymous_name_is_accepted(name: str) -> None:
    assert protocol.anonymous_channel(name) == f"anon.{name}"


@given(st.text(max_size=140))
def test_no_other_name_is_accepted(name: str) -> None:
    assume(not (16 <= len(name) <= 128 and set(name) <= set(LEGAL)))
    with pytest.raises(BadChannel):
        protocol.anonymous_channel(name)


@pytest.mark.parametrize("name", ["a" * 15, "a" * 129, "a" * 20 + "\n", "ä" * 20, "a.b" * 8, ""])
def test_names_just_outside_the_rule_are_refused(name: str) -> None:
    assert not protocol.is_anonymous_name(name)


@given(st.text(min_size=1, max_size=140), st.text(alphabet=LEGAL, min_size=16, max_size=128))
def test_a_user_and_an_anonymous_caller_never_share_a_channel(sub: str, name: str) -> None:
    user, anonymous = protocol.user_channel(sub), protocol.anonymous_channel(name)
    assert user != anonymous
    assert protocol.redis_channel(user) != protocol.redis_channel(anonymous)
    assert protocol.shown_channel(user) != protocol.shown_channel(anonymous)


def test_a_user_channel_needs_a_sub() -> None:
    with pytest.raises(BadChannel):
        protocol.user_channel("")


def test_ping_and_pong_are_what_a_client_may_send() -> None:
    assert protocol.parse_client('{"type": "ping"}') == "ping"
    assert protocol.parse_client('{"type": "pong", "more": 1}') == "pong"


@pytest.mark.parametrize(
    "text", ["", "ping", "[]", "{}", '{"type": 1}', '{"type": "data"}', "[" * 100_000, "1" * 5000]
)
def test_anything_else_is_a_bad_message(text: str) -> None:
    with pytest.raises(BadMessage):
        protocol.parse_client(text)


@given(st.text())
def test_a_bad_message_is_the_only_way_parsing_fails(text: str) -> None:
    with contextlib.suppress(BadMessage):
        protocol.parse_client(text)


@pytest.mark.parametrize("payload", [b"\xff\xfe", b"hello", b"null", b'{"no": "type"}'])
def test_what_another_program_published_is_a_bad_message(payload: bytes) -> None:
    with pytest.raises(BadMessage):
        parse_published("anon.x", payload)


def test_a_published_message_comes_out_as_it_went_in() -> None:
    text = protocol.encode(protocol.completed("x"))
    assert parse_published("anon.x", text.encode()).text == text
    assert json.loads(text) == protocol.completed("x")


@given(st.text())
def test_a_close_reason_always_fits_its_frame(reason: str) -> None:
    cut = protocol.close_reason(reason.encode(errors="replace").decode())
    assert len(cut.encode()) <= 123
