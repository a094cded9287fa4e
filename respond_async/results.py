"""The endpoints of results: an answer in its envelope, an answer as it was, one's own requests.

    GET    /api/v1/async_background_response/                  one's own
    GET    /api/v1/async_background_response/{task_id}/        the envelope
    DELETE /api/v1/async_background_response/{task_id}/        cancels, or forgets
    GET    /api/v1/async_background_response/{task_id}/raw     the answer itself

Each with or without the last slash.
"""

import asyncio
import hashlib
import re
from collections.abc import Callable, Coroutine
from typing import Any, Final

import redis
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from respond_async.answer import Answer
from respond_async.cancelling import Cancelling
from respond_async.large_rendering import render_large
from respond_async.owned import STATES, OwnedReads
from respond_async.ownership import Ownership
from respond_async.paths import LIST_PATH, RAW_PATH, RESULT_PATH
from respond_async.prefer import parse_prefer
from respond_async.problems import Problem
from respond_async.raw_answer import PENDING, raw_answer, verbatim
from respond_async.rendering import MEDIA_TYPE, render
from respond_async.settings import Settings
from respond_async.stored import StoredAnswers
from respond_async.waiting import Waits

_NO_STORE: Final = {"Cache-Control": "no-store"}
# May be kept by the client itself, which asks each time whether it is still its own to see.
_REVALIDATE: Final = {"Cache-Control": "private, no-cache"}
_NUMBER: Final = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?", re.ASCII)
_LONGEST_PAGE: Final = 100

_Endpoint = Callable[..., Coroutine[Any, Any, Response]]


class Results:
    """Answers the owner's questions."""

    def __init__(
        self,
        settings: Settings,
        ownership: Ownership,
        stored: StoredAnswers,
        *,
        waits: Waits,
        cancelling: Cancelling,
        owned: OwnedReads,
    ) -> None:
        self._settings: Final = settings
        self._ownership: Final = ownership
        self._stored: Final = stored
        self._waits: Final = waits
        self._cancelling: Final = cancelling
        self._owned: Final = owned

    def install(self, app: FastAPI) -> None:
        """Adds the endpoints. Before the capture: what is there already is never captured."""
        name = "async_background_response"
        for path, method, endpoint, called in (
            (LIST_PATH, "GET", self.listed, f"{name}_list"),
            (RESULT_PATH, "GET", self.envelope, name),
            (RESULT_PATH, "DELETE", self.delete, f"{name}_delete"),
            (RAW_PATH, "GET", self.raw, f"{name}_raw"),
        ):
            self._add(app, path, method, endpoint, called)

    @staticmethod
    def _add(app: FastAPI, path: str, method: str, endpoint: _Endpoint, name: str) -> None:
        tags: list[Any] = ["respond_async"]
        app.add_api_route(path, endpoint, methods=[method], tags=tags, name=name)
        other = path.rstrip("/") if path.endswith("/") else f"{path}/"
        app.add_api_route(other, endpoint, methods=[method], include_in_schema=False)

    async def envelope(
        self, request: Request, task_id: str, channel: str | None = None, wait: str | None = None
    ) -> Response:
        """The answer of an accepted request: 200 once it is there, 202 before that.

        `status` is the endpoint's own HTTP status, `headers` and `response` are its own too. Send
        the Bearer token of the request, or its anonymous channel in `X-Async-Request` or
        `?channel=`. `?wait=30` answers as soon as it is there, or after 30 seconds.
        """
        answer = await self._answer(request, task_id, channel, wait)
        if answer is None:
            return self._pending(task_id)
        given = request.headers.getlist("if-none-match")
        if answer.claim is not None:
            # Too large to be hashed each time; a result that is there does not change.
            headers = {**_REVALIDATE, "ETag": f'"{task_id}"'}
            if _matches(given, headers["ETag"]):
                return Response(status_code=304, headers=headers)
            pieces = self._stored.pieces(task_id, answer)
            parts = render_large(task_id, answer.endpoint, answer, pieces)
            return StreamingResponse(parts, 200, headers, MEDIA_TYPE)
        # In a thread: an answer may have many bytes.
        body, tag = await asyncio.to_thread(_rendered, task_id, answer)
        headers = {**_REVALIDATE, "ETag": tag}
        if _matches(given, tag):
            return Response(status_code=304, headers=headers)
        return Response(body, 200, headers, MEDIA_TYPE)

    async def raw(
        self, request: Request, task_id: str, channel: str | None = None, wait: str | None = None
    ) -> Response:
        """The answer of an accepted request as its endpoint gave it: status, headers and body.

        202 with `X-Async-Status: pending` before that. `?wait=30` as with the envelope.
        """
        answer = await self._answer(request, task_id, channel, wait)
        if answer is None:
            return self._pending(task_id)
        given = raw_answer(answer, self._stored.pieces(task_id, answer))
        return verbatim(request.scope, given)

    async def delete(self, request: Request, task_id: str, channel: str | None = None) -> Response:
        """Cancels a request that has not ended: 200, and its result says so; forgets one that has.

        One that waits never starts. One that runs is cancelled where the worker's pool can cancel.
        """
        own = await self._ownership.channel(request, channel)
        issued = self._ownership.issued(task_id, own)
        answer = await self._stored.find(task_id, issued)
        if answer is None:
            was = await self._cancelling.cancel(task_id, own)
            return JSONResponse(
                {"task_id": task_id, "status": "cancelled", "was": was}, 200, _NO_STORE
            )
        await self._cancelling.forget(task_id, own, answer)
        return Response(status_code=204, headers=_NO_STORE)

    async def listed(
        self,
        request: Request,
        channel: str | None = None,
        status: str | None = None,
        limit: str | None = None,
        cursor: str | None = None,
    ) -> Response:
        """One's own requests, the newest first, as long as they are kept.

        `status`: `pending`, `running` or `completed`. `limit`: 1 to 100, 20 by default. `cursor`:
        the `next` of the page before.
        """
        own = await self._ownership.channel(request, channel)
        wanted = None if status is None else STATES.get(status)
        if status is not None and wanted is None:
            raise Problem(400, f"status is one of {', '.join(STATES)}.")
        count = int(limit) if limit and re.fullmatch(r"[0-9]{1,3}", limit, re.ASCII) else 0
        if limit is None:
            count = 20
        if not 1 <= count <= _LONGEST_PAGE:
            raise Problem(400, f"limit is 1 to {_LONGEST_PAGE}.")
        try:
            page, following = await self._owned.page(own, count, cursor, wanted)
        except ValueError:
            raise Problem(400, "cursor is not one that an earlier page gave.") from None
        except (redis.RedisError, OSError) as error:
            raise self._stored.unavailable("the list", error) from None
        root = request.scope.get("root_path", "").rstrip("/")
        rows = [
            {
                "task_id": one.task_id,
                "status": one.status,
                "method": one.method,
                "endpoint": one.endpoint,
                "accepted_at": one.accepted_at.isoformat(),
                "location": root + RESULT_PATH.format(task_id=one.task_id),
            }
            for one in page
        ]
        return JSONResponse({"data": rows, "meta": {"next": following}}, 200, _NO_STORE)

    async def _answer(
        self, request: Request, task_id: str, channel: str | None, wait: str | None
    ) -> Answer | None:
        own = await self._ownership.channel(request, channel)
        issued = self._ownership.issued(task_id, own)
        seconds = self._wait_seconds(request, wait)
        if not seconds:
            return await self._stored.find(task_id, issued)
        waiting = asyncio.ensure_future(
            self._waits.until(own, task_id, seconds, lambda: self._stored.find(task_id, issued))
        )
        leaving = asyncio.ensure_future(_disconnected(request))
        try:
            await asyncio.wait({waiting, leaving}, return_when=asyncio.FIRST_COMPLETED)
            # Of a client that has left nobody reads the answer.
            return waiting.result() if waiting.done() else None
        finally:
            waiting.cancel()
            leaving.cancel()

    def _wait_seconds(self, request: Request, wait: str | None) -> float:
        if wait is None:
            preferred = parse_prefer(request.headers.getlist("prefer")).wait_seconds
            seconds = float(preferred or 0)
        elif _NUMBER.fullmatch(wait):
            seconds = float(wait)
        else:
            raise Problem(400, "wait is a number of seconds, such as 30.")
        return min(seconds, self._settings.long_poll_max_seconds)

    def _pending(self, task_id: str) -> Response:
        headers = {
            **_NO_STORE,
            **PENDING,
            "Retry-After": str(self._settings.retry_after_seconds),
        }
        return JSONResponse({"task_id": task_id, "status": "not ready"}, 202, headers)


def _rendered(task_id: str, answer: Answer) -> tuple[bytes, str]:
    body = render(task_id, answer.endpoint, answer)
    return body, f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def _matches(given: list[str], tag: str) -> bool:
    """Whether `If-None-Match` names the tag (RFC 9110 13.1.2: weak comparison)."""
    named = [one.strip().removeprefix("W/") for value in given for one in value.split(",")]
    return tag in named or "*" in named


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
