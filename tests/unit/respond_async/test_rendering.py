import base64
import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from respond_async.answer import Answer
from respond_async.rendering import render, shown_headers

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def rendered(body: bytes, *headers: tuple[str, str]) -> dict[str, object]:
    shown: dict[str, object] = json.loads(render("id", "/x?y", Answer(200, headers, body)))
    return shown


@given(json_values)
def test_any_json_is_given_back_as_it_is(value: object) -> None:
    body = json.dumps(value).encode()
    assert rendered(body, ("content-type", "application/json"))["response"] == value


@given(st.binary(), st.sampled_from(["application/json", "text/plain", "image/png", "x", ""]))
def test_no_body_makes_the_envelope_unreadable(body: bytes, media: str) -> None:
    shown = rendered(body, ("content-type", media))
    assert list(shown)[:4] == ["task_id", "status", "endpoint", "headers"]
    if shown.get("encoding") == "base64":
        assert base64.b64decode(str(shown["response"])) == body


@given(st.binary(min_size=1))
def test_bytes_are_given_back_as_base64(body: bytes) -> None:
    shown = rendered(body, ("content-type", "application/octet-stream"))
    assert shown["encoding"] == "base64"
    assert base64.b64decode(str(shown["response"])) == body


@pytest.mark.parametrize("body", [b'{"a": NaN}', b'{"a": 1', b"", b"\xff", b"[" * 100_000])
def test_what_is_called_json_and_is_none_is_text(body: bytes) -> None:
    shown = rendered(body, ("content-type", "application/json"))
    if body == b"\xff":
        assert shown["encoding"] == "base64"
    else:
        assert shown["response"] == (body.decode() or None)


@pytest.mark.parametrize("charset", ["utf-8", "latin-1", "utf-16"])
def test_text_is_decoded_by_its_charset(charset: str) -> None:
    shown = rendered("größe".encode(charset), ("content-type", f"text/plain; charset={charset}"))
    assert shown["response"] == "größe"


@pytest.mark.parametrize("charset", ["no-such-charset", "utf-8", "hex", "undefined"])
def test_text_that_cannot_be_decoded_is_base64(charset: str) -> None:
    shown = rendered(b"\xff\xfe\xfd", ("content-type", f"text/plain; charset={charset}"))
    assert shown["encoding"] == "base64"


def test_an_unknown_content_coding_is_base64() -> None:
    headers = (("content-type", "text/plain"), ("content-encoding", "br"))
    assert rendered(b"coded", *headers)["encoding"] == "base64"
    headers = (("content-type", "text/plain"), ("content-encoding", "gzip"))
    assert rendered(b"not gzip", *headers)["encoding"] == "base64"
    headers = (("content-type", "text/plain"), ("content-encoding", "deflate"))
    assert rendered(zlib.compress(b"hello"), *headers)["response"] == "hello"


def test_a_repeated_header_has_a_list_of_its_values() -> None:
    headers = (("Set-Cookie", "a"), ("x", "1"), ("set-cookie", "b"), ("SET-COOKIE", "c"))
    assert shown_headers(headers) == {"set-cookie": ["a", "b", "c"], "x": "1"}
