"""One replay's request and answer, as the ASGI app and `httpx.ASGITransport` see them."""

import logging
from typing import Any, Final

from respond_async.claims import Claims, ClaimWriter
from respond_async.envelope import BodyClaim, CapturedRequest
from respond_async.errors import RespondAsyncError
from respond_async.log_context import LOG_CONTEXT, of_replay
from respond_async.plan import raised_names
from respond_async.raw_request import App, Message, Receive, Send
from respond_async.scope import REPLAY, REQUEST_ID, ReplayInfo, Scope
from respond_async.settings import Settings

logger = logging.getLogger(__name__)

# What uvicorn says of itself.
_ASGI: Final = {"version": "3.0", "spec_version": "2.3"}
_SERVER_ERROR: Final = b"Internal Server Error"


class ResponseTooLargeError(Exception):
    """Ends an endpoint whose answer is larger than MAX_RESPONSE_BYTES."""


class AnswerBody:
    """The body of an answer as it comes in: in memory up to CLAIM_CHECK_BYTES, above in a claim."""

    __slots__ = ("_claims", "_request", "_settings", "_size", "_waiting", "_writer", "failure")

    def __init__(self, request: CapturedRequest, settings: Settings, claims: Claims) -> None:
        self._request = request
        self._settings = settings
        self._claims = claims
        self._waiting = bytearray()
        self._writer: ClaimWriter | None = None
        self._size = 0
        #: Why there is no whole answer, for the owner.
        self.failure: str | None = None

    async def write(self, part: bytes) -> None:
        """Takes the next part.

        Raises:
            ResponseTooLargeError: The answer is larger than MAX_RESPONSE_BYTES.
            StoreUnavailableError: The claim store did not take it.
        """
        self._size += len(part)
        limit = self._settings.max_response_bytes
        if self._size > limit:
            self.failure = f"The endpoint's answer is larger than {limit} bytes."
            raise ResponseTooLargeError(self.failure)
        if self._writer is None and self._size > self._settings.claim_check_bytes:
            self._writer = self._claims.writer(self._request.task_id)
            # What a worker that was lost has left of an earlier run.
            await self._claims.discard(self._request.task_id)
            await self._writer.write(bytes(self._waiting))
            self._waiting.clear()
        if self._writer is None:
            self._waiting += part
        else:
            await self._writer.write(part)

    async def finish(self) -> tuple[bytes, BodyClaim | None]:
        """The body, or the claim on it."""
        if self._writer is None:
            return bytes(self._waiting), None
        return b"", await self._writer.finish()

    async def abandon(self) -> None:
        """Removes what was kept; never raises."""
        self._waiting.clear()
        if self._writer is not None:
            await self._writer.abandon()


class Exchange:
    """The app as ASGITransport sees it: the captured scope put back, the answer taken aside.

    ASGITransport fixes the HTTP version and one client address, rebuilds the path from the URL,
    ends every body with an empty message, holds the whole answer in memory, and takes one that
    was broken off for a whole one.
    """

    # Thousands of them wait at a time.
    __slots__ = (
        "_answer", "_app", "_complete", "_lost", "_request", "_send", "_started", "_state", "_whole",
        "raised",
    )  # fmt: skip

    def __init__(
        self,
        app: App,
        request: CapturedRequest,
        answer: AnswerBody,
        state: dict[str, Any] | None,
    ) -> None:
        self._app = app
        self._request = request
        self._answer = answer
        self._state = state
        self._started = False
        self._complete = False
        # Set if the claim store failed us: then the answer, if any, is not the app's own.
        self._lost: RespondAsyncError | None = None
        #: The classes of what left the app, for a retry.
        self.raised: tuple[str, ...] = ()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles the request (ASGI)."""
        # ASGITransport keeps its own until the answer is there, and nobody reads it.
        scope.clear()
        request = self._request
        captured = {
            "type": "http",
            "asgi": dict(_ASGI),
            "extensions": {},
            **request.scope(),
            REPLAY: ReplayInfo(
                task_id=request.task_id, accepted_at=request.accepted_at, channel=request.channel
            ),
            REQUEST_ID: request.request_id,
        }
        if self._state is not None:
            # LifespanManager has one for all; a server gives each request its own copy.
            captured["state"] = self._state.copy()
        LOG_CONTEXT.set(of_replay(request))
        self._whole, self._send = _Request(receive), send
        try:
            await self._app(captured, self._receive, self._take)
        except Exception as error:
            self.raised = raised_names(error)
            if self._lost is None:
                # What a server does: log it, and answer 500 if nothing was answered yet.
                logger.exception("the app failed on %s", request)
            else:
                logger.warning("the replay of %s ends: %s", request, error)
        if self._answer.failure is None and self._started and not self._complete:
            self._answer.failure = "The endpoint broke off before the end of its answer."
        if not self._started:
            await self._internal_server_error()
        elif not self._complete:
            # ASGITransport insists on an end; `failure` says that it is none.
            await send({"type": "http.response.body"})

    def raise_lost(self) -> None:
        """Raises what the claim store failed with, if it did, in place of the app's answer."""
        if self._lost is not None:
            raise self._lost

    async def _receive(self) -> Message:
        try:
            return await self._whole.receive()
        except RespondAsyncError as error:
            self._lost = error
            raise

    async def _take(self, message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.start":
            if self._started:
                raise RuntimeError("the app began its answer twice")
            self._started = True
            await self._send(message)
        elif kind == "http.response.body":
            if not self._started or self._complete:
                raise RuntimeError(f"the app sent {kind} out of turn")
            # A server sends none in answer to HEAD (RFC 9110 9.3.2).
            if self._request.method != "HEAD":
                try:
                    await self._answer.write(message.get("body", b""))
                except RespondAsyncError as error:
                    self._lost = error
                    raise
            self._complete = not message.get("more_body", False)
            if self._complete:
                await self._send({"type": "http.response.body"})
        elif kind == "http.response.trailers":
            # Not offered, as uvicorn does not; an app may send them all the same.
            if not message.get("more_trailers", False):
                logger.warning("%s: the trailers of its answer are left out", self._request)
        else:
            # As a server that does not offer the extension.
            raise RuntimeError(f"the app sent {kind}, which was not offered to it")

    async def _internal_server_error(self) -> None:
        await self._take(
            {
                "type": "http.response.start",
                "status": 500,
                "headers": [
                    (b"content-type", b"text/plain; charset=utf-8"),
                    (b"content-length", str(len(_SERVER_ERROR)).encode()),
                ],
            }
        )
        await self._take({"type": "http.response.body", "body": _SERVER_ERROR})


class _Request:
    """The request's messages, the last one marked as such, as a server does where it can."""

    __slots__ = ("_next", "_receive")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._next: Message | None = None

    async def receive(self) -> Message:
        message = self._next or await self._receive()
        self._next = None
        if message["type"] == "http.request" and message.get("more_body"):
            self._next = await self._receive()
            if not self._next.get("body") and not self._next.get("more_body"):
                self._next = None
                return {**message, "more_body": False}
        return message
