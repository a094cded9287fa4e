"""An answer as the endpoint gave it: status, headers in order, body byte for byte."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any, Final

from fastapi import Response
from fastapi.responses import StreamingResponse

from respond_async.answer import Answer
from respond_async.hop_by_hop import end_to_end
from respond_async.large_rendering import Pieces
from respond_async.scope import VERBATIM, Scope

Message = MutableMapping[str, Any]
Headers = list[tuple[bytes, bytes]]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


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


class Verbatim:
    """Sends a verbatim answer in place of what the app's middlewares make of a stand-in.

    They had their turn when the answer was made: a second one would add their headers twice. But who
    may read it is a matter of the page that asks now, so their CORS headers stand.

    Args:
        scope: The connection's.
        receive: The server's.
        send: The server's.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._answer: Response | None = None

    def stand_in(self, answer: Response) -> Response:
        """What the app is to answer, so that `answer` is sent."""
        self._answer = answer
        return Response()

    async def send(self, message: Message) -> None:
        """Takes what the app sends."""
        if self._answer is None:
            await self._send(message)
        elif message["type"] == "http.response.start":
            self._answer.raw_headers = _readable(self._answer.raw_headers, message["headers"])
            await self._answer(self._scope, self._receive, self._send)


def _readable(headers: Headers, added: Iterable[tuple[bytes, bytes]]) -> Headers:
    """The headers with the CORS headers of `added`, each in the place of one there is."""
    merged = list(headers)
    for name, value in added:
        place = next((at for at, (there, _) in enumerate(merged) if there == name), len(merged))
        if name.startswith(b"access-control-"):
            merged[place : place + 1] = [(name, value)]
        elif name == b"vary" and b"origin" in value.lower():
            varies = b",".join(there for key, there in merged if key == b"vary").lower()
            if b"origin" not in varies and b"*" not in varies:
                merged.append((b"vary", b"Origin"))
    return merged


def verbatim(scope: Scope, answer: Response) -> Response:
    """The response to give to the app for an answer that is to be sent as it is."""
    through = scope.get(VERBATIM)
    return through.stand_in(answer) if isinstance(through, Verbatim) else answer


#: Says of a 202 that it is not the endpoint's own.
PENDING: Final = {"X-Async-Status": "pending"}
