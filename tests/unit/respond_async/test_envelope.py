from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st
from pydantic import SecretStr

from respond_async import EnvelopeError, Settings
from respond_async.answer import Answer, StoredAnswer
from respond_async.envelope import BodyClaim, CapturedRequest
from respond_async.sealing import Sealer

KEY, OTHER = "a" * 32, "b" * 32
headers = st.lists(st.tuples(st.binary(), st.binary()))


def sealer(*keys: str, purpose: str = "request") -> Sealer:
    return Sealer(Settings(secret_key=[SecretStr(key) for key in keys]), purpose)


def scope(**changes: Any) -> dict[str, Any]:
    return {
        "type": "http",
        "method": "POST",
        "scheme": "https",
        "http_version": "2",
        "path": "/ä",
        "raw_path": b"/%C3%A4",
        "root_path": "",
        "query_string": b"q=1",
        "headers": [(b"a", b"1"), (b"b", b"\xff"), (b"a", b"2")],
        "client": ("192.0.2.1", 1234),
        "server": ("shop.example", None),
        **changes,
    }


def captured(**changes: Any) -> CapturedRequest:
    return CapturedRequest.of(scope(**changes), "id", datetime.now(UTC), "anon.channel")


@settings_of_hypothesis(deadline=None)
@given(headers=headers, query=st.binary(), raw_path=st.binary(min_size=1), body=st.binary())
def test_every_byte_survives_the_way(
    headers: list[tuple[bytes, bytes]], query: bytes, raw_path: bytes, body: bytes
) -> None:
    request = captured(headers=headers, query_string=query, raw_path=raw_path)
    for way in (sealer(KEY), sealer()):
        arrived, arrived_body = CapturedRequest.opened(request.sealed(body, way), way)
        assert arrived_body == body
        assert arrived == request
        assert arrived.scope() == {
            name: value
            for name, value in scope(headers=headers, query_string=query, raw_path=raw_path).items()
            if name != "type"
        }


def test_a_claimed_body_does_not_travel() -> None:
    claim = BodyClaim(size=4, pieces=1)
    request = captured().model_copy(update={"claim": claim})
    _, body = CapturedRequest.opened(request.sealed(b"body", sealer()), sealer())
    assert body == b""


def test_keys_can_be_rotated() -> None:
    old = sealer(KEY).seal(b"x")
    assert sealer(OTHER, KEY).open(old) == b"x"
    with pytest.raises(EnvelopeError, match="SECRET_KEY"):
        sealer(OTHER).open(old)


def test_what_is_sealed_for_one_purpose_does_not_open_for_another() -> None:
    with pytest.raises(EnvelopeError, match="the answer was not sealed"):
        sealer(KEY, purpose="answer").open(sealer(KEY).seal(b"x"))


def test_with_a_key_nothing_plain_is_taken() -> None:
    with pytest.raises(EnvelopeError, match="not encrypted"):
        sealer(KEY).open(sealer().seal(b"x"))


def test_without_the_key_the_error_says_what_to_set() -> None:
    with pytest.raises(EnvelopeError, match="set the SECRET_KEY"):
        sealer().open(sealer(KEY).seal(b"x"))


@given(st.one_of(st.text(), st.binary(), st.integers(), st.none(), st.lists(st.text())))
def test_a_foreign_envelope_is_an_error_that_does_not_quote_it(foreign: object) -> None:
    # A known key's id in front.
    valid = sealer(KEY).seal(b"").rpartition(".")[0] + "."
    for way in (sealer(KEY), sealer()):
        for prefix in ("", "plain:", "aes256gcm.", valid):
            text = prefix + foreign if isinstance(foreign, str) else foreign
            with pytest.raises(EnvelopeError) as raised:
                CapturedRequest.opened(text, way)
            assert raised.value.__suppress_context__ or raised.value.__context__ is None


def test_an_answer_opens_for_its_own_task_alone() -> None:
    way = sealer(KEY, purpose="answer")
    stored = Answer(201, (("a", "1"), ("a", "é")), b"\n{}\n").sealed("mine", "/asked?q", way)
    opened = Answer.opened(stored.text, "mine", way)
    assert (opened.endpoint, opened.status, opened.headers, opened.body) == (
        "/asked?q",
        201,
        (("a", "1"), ("a", "é")),
        b"\n{}\n",
    )
    with pytest.raises(EnvelopeError, match="for this"):
        Answer.opened(stored.text, "other", way)


def test_what_celery_shows_of_a_request_and_an_answer_is_short() -> None:
    request = captured(headers=[(b"cookie", b"secret")], query_string=b"secret")
    assert (repr(request), str(request)) == ("POST /%C3%A4",) * 2
    stored = Answer(200, (), b"secret").sealed("id", "/asked?q=1", sealer(KEY))
    assert repr(stored) == "200, 6 bytes"
    assert isinstance(stored, StoredAnswer)
