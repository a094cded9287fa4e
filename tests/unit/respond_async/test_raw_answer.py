"""Headers of an answer that is given to another page than the one that asked first."""

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest
from fastapi import Response

from respond_async.raw_answer import Verbatim

Headers = list[tuple[bytes, bytes]]
THEIRS = (b"access-control-allow-origin", b"https://a.example")
OURS = (b"access-control-allow-origin", b"https://b.example")


def sent(answer: Headers, by_middlewares: Headers) -> Headers:
    heard: list[MutableMapping[str, Any]] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        heard.append(message)

    async def scenario() -> None:
        through = Verbatim({"type": "http"}, _nothing, send)
        given = Response()
        given.raw_headers = answer
        through.stand_in(given)
        start = {"type": "http.response.start", "status": 200, "headers": by_middlewares}
        await through.send(start)

    asyncio.run(scenario())
    headers: Headers = heard[0]["headers"]
    return headers


async def _nothing() -> MutableMapping[str, Any]:
    raise AssertionError


@pytest.mark.parametrize(
    ("answer", "added", "expected"),
    [
        ([(b"x-a", b"1")], [(b"x-served", b"shop")], [(b"x-a", b"1")]),
        ([(b"x-a", b"1")], [OURS], [(b"x-a", b"1"), OURS]),
        ([THEIRS, (b"x-a", b"1")], [OURS], [OURS, (b"x-a", b"1")]),
        ([THEIRS], [THEIRS], [THEIRS]),
        ([THEIRS], [], [THEIRS]),
        ([], [(b"vary", b"Accept-Encoding")], []),
        ([], [(b"vary", b"Origin")], [(b"vary", b"Origin")]),
        ([(b"vary", b"Cookie, origin")], [(b"vary", b"Origin")], [(b"vary", b"Cookie, origin")]),
    ],
)
def test_who_may_read_it_is_said_for_the_page_that_asks(
    answer: Headers, added: Headers, expected: Headers
) -> None:
    assert sent(answer, added) == expected
