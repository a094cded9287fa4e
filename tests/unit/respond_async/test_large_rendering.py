import gzip
import json
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from respond_async.answer import Answer
from respond_async.compression import packed, unpacked
from respond_async.envelope import BodyClaim
from respond_async.large_rendering import render_large
from respond_async.rendering import render

MEDIA = ["application/json", "text/plain", "text/plain; charset=utf-16", "text/plain; charset=hex",
         "image/png", "application/problem+json", "text/html; charset=latin-1"]  # fmt: skip
bodies = (
    st.binary(min_size=1, max_size=200)
    | st.text(min_size=1).map(str.encode)
    | st.lists(st.integers() | st.text(), min_size=1).map(lambda value: json.dumps(value).encode())
)


@given(
    body=bodies,
    media=st.sampled_from(MEDIA),
    coding=st.sampled_from(["", "gzip", "gzip-not", "br"]),
    size=st.integers(1, 7),
)
@settings(deadline=None)
def test_in_pieces_it_is_the_same_text(body: bytes, media: str, coding: str, size: int) -> None:
    headers = [("content-type", media)]
    if coding:
        headers.append(("content-encoding", coding.removesuffix("-not")))
    if coding == "gzip":
        body = gzip.compress(body)

    def pieces() -> Iterator[bytes]:
        for start in range(0, len(body), size):
            yield body[start : start + size]

    whole = Answer(200, tuple(headers), body)
    claimed = Answer(200, tuple(headers), b"", BodyClaim(size=len(body), pieces=1))
    assert b"".join(render_large("id", "/x", claimed, pieces)) == render("id", "/x", whole)


@given(st.binary(max_size=5000) | st.binary(max_size=20).map(lambda data: data * 500))
def test_what_is_packed_comes_back(data: bytes) -> None:
    assert unpacked(packed(data)) == data
    assert len(packed(data)) <= len(data) + 1


@pytest.mark.parametrize("text", [b'{"name": "Ada", "age": 36}, ' * 1000])
def test_text_is_kept_smaller(text: bytes) -> None:
    assert len(packed(text)) < len(text) / 10
