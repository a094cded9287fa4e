"""An answer as the endpoint gave it: status, headers in order, body byte for byte."""

from collections.abc import Mapping
from typing import Final

from fastapi import Response
from fastapi.responses import StreamingResponse

from respond_async.answer import Answer
from respond_async.hop_by_hop import end_to_end
from respond_async.large_rendering import Pieces


def raw_answer(answer: Answer, pieces: Pieces, added: Mapping[str, str] | None = None) -> Response:
    """An answer replayed verbatim.

    Only what belongs to one connection (RFC 9110 7.6.1) is left out, and `Content-Length` is that
    of the body that follows: the answer to HEAD names one that it does not have.

    Args:
        answer: What is replayed.
        pieces: Reads its body, if that is in the claim store.
        added: Headers that come behind its own.
    """
    response: Response
    if answer.claim is None:
        response = Response(answer.body, answer.status)
    else:
        response = StreamingResponse(pieces(), answer.status)
    length = str(answer.size).encode()
    given = [(name.lower().encode("latin-1"), value.encode("latin-1"))
             for name, value in answer.headers]  # fmt: skip
    response.raw_headers = [
        (name, length if name == b"content-length" else value) for name, value in end_to_end(given)
    ]
    response.raw_headers += [
        (name.lower().encode("latin-1"), value.encode("latin-1"))
        for name, value in (added or {}).items()
    ]
    return response


#: Says of a 202 that it is not the endpoint's own.
PENDING: Final = {"X-Async-Status": "pending"}
