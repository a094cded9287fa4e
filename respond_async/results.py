"""The result endpoint: the owner fetches the answer of an accepted request."""

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import redis
from celery import states
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from respond_async.accepted import AppRecords
from respond_async.answer import Answer
from respond_async.capture import RESULT_PATH
from respond_async.celery_face import BackendUnavailableError, CeleryFace
from respond_async.claims import Claims
from respond_async.errors import (
    BodyLostError,
    EnvelopeError,
    StoreUnavailableError,
    UnknownTaskId,
)
from respond_async.identity import Identities
from respond_async.large_rendering import render_large
from respond_async.problems import Problem, unauthorized, unavailable
from respond_async.rendering import MEDIA_TYPE, render
from respond_async.scope import ASYNC_HEADER
from respond_async.sealing import Sealer
from respond_async.settings import Settings
from respond_async.task_ids import IssuedId, TaskIds

logger = logging.getLogger(__name__)

_NO_STORE: Final = {"Cache-Control": "no-store"}
_UNKNOWN: Final = "There is no such request."


class Results:
    """Answers `GET /api/v1/async_background_response/{task_id}/`, with or without the last slash."""

    def __init__(
        self,
        settings: Settings,
        identities: Identities,
        celery: CeleryFace,
        records: AppRecords,
        ids: TaskIds,
        *,
        answers: Claims,
    ) -> None:
        self._settings = settings
        self._identities = identities
        self._celery = celery
        self._records = records
        self._ids = ids
        self._answers = answers
        self._sealer = Sealer(settings, "answer")

    def install(self, app: FastAPI) -> None:
        """Adds the endpoint. Before the capture: what is there already is never captured."""
        tags: list[Any] = ["respond_async"]
        app.add_api_route(
            RESULT_PATH, self.endpoint, methods=["GET"], tags=tags, name="async_background_response"
        )
        app.add_api_route(
            RESULT_PATH.rstrip("/"), self.endpoint, methods=["GET"], include_in_schema=False
        )

    async def endpoint(
        self, request: Request, task_id: str, channel: str | None = None
    ) -> Response:
        """The answer of an accepted request: 200 once it is there, 202 before that.

        `status` is the endpoint's own HTTP status, `headers` and `response` are its own too. Send
        the Bearer token of the request, or its anonymous channel in `X-Async-Request` or
        `?channel=`.
        """
        own = self._own_channel(request, channel)
        issued = self._issued(task_id, own)
        try:
            known = await self._records.find(task_id)
            meta = await self._celery.meta(task_id)
        except (redis.RedisError, OSError, BackendUnavailableError) as error:
            raise self._unavailable(task_id, error) from None
        except EnvelopeError as error:
            raise self._unreadable(task_id, error) from None
        if meta["status"] in states.READY_STATES:
            return await self._ended(task_id, known.endpoint, meta)
        if known.withdrawn:
            raise Problem(404, _UNKNOWN)
        if known.ended or self._is_old(issued):
            raise Problem(410, "The result is no longer kept.")
        return self._pending(task_id)

    def _own_channel(self, request: Request, channel: str | None) -> str:
        bearer = self._identities.of_token(request.headers)
        if bearer is not None:
            return bearer.channel
        named = self._identities.anonymous(channel or request.headers.get(ASYNC_HEADER))
        if named is None:
            raise unauthorized(
                "Send the request's Bearer token, or its anonymous channel in X-Async-Request"
                " or ?channel=."
            )
        return named.channel

    def _issued(self, task_id: str, own_channel: str) -> IssuedId:
        try:
            issued = self._ids.read(task_id)
        except UnknownTaskId:
            raise Problem(404, _UNKNOWN) from None
        if not issued.belongs_to(own_channel):
            raise Problem(403, "This request is somebody else's.")
        return issued

    def _is_old(self, issued: IssuedId) -> bool:
        age = datetime.now(UTC) - issued.accepted_at
        return age > timedelta(seconds=self._settings.result_ttl_seconds)

    async def _ended(self, task_id: str, asked: str, meta: dict[str, Any]) -> Response:
        try:
            return await asyncio.to_thread(self._rendered, task_id, asked, meta)
        except EnvelopeError as error:
            raise self._unreadable(task_id, error) from None
        except BodyLostError:
            raise Problem(410, "The result was there, and is no longer kept.") from None
        except StoreUnavailableError as error:
            raise self._unavailable(task_id, error) from None

    def _rendered(self, task_id: str, asked: str, meta: dict[str, Any]) -> Response:
        if meta["status"] != states.SUCCESS:
            body = render(task_id, asked, _lost(meta, asked))
            return Response(body, 200, _NO_STORE, MEDIA_TYPE)
        answer = Answer.opened(meta["result"], task_id, self._sealer)
        claim = answer.claim
        if claim is None:
            body = render(task_id, answer.endpoint, answer)
            return Response(body, 200, _NO_STORE, MEDIA_TYPE)
        self._answers.check(task_id, claim)
        parts = render_large(
            task_id, answer.endpoint, answer, lambda: self._answers.pieces_here(task_id, claim)
        )
        return StreamingResponse(parts, 200, _NO_STORE, MEDIA_TYPE)

    def _unavailable(self, task_id: str, error: Exception) -> Problem:
        logger.warning("result of %s not read: %s", task_id, error)
        return unavailable(
            "The storage of results does not answer. Try again later.",
            self._settings.retry_after_seconds,
        )

    def _pending(self, task_id: str) -> Response:
        headers = {**_NO_STORE, "Retry-After": str(self._settings.retry_after_seconds)}
        return JSONResponse({"task_id": task_id, "status": "not ready"}, 202, headers)

    def _unreadable(self, task_id: str, error: EnvelopeError) -> Problem:
        logger.error("result of %s cannot be read: %s", task_id, error)
        return Problem(500, "What is stored of this request cannot be read by the server.")


def _lost(meta: dict[str, Any], asked: str) -> Answer:
    """What stands for an answer that the endpoint never gave; no traceback, no exception's text."""
    kind = type(meta.get("result")).__name__
    if meta["status"] == states.REVOKED:
        status, detail = 503, "The request was revoked before its endpoint had answered."
    elif kind in ("TimeLimitExceeded", "SoftTimeLimitExceeded"):
        status, detail = 504, "The endpoint did not answer within the worker's time limit."
    elif kind == "WorkerLostError":
        status, detail = 500, "The worker was lost while it ran the endpoint."
    else:
        status, detail = 500, "The worker could not run the request."
    return Answer.problem(status, detail, asked.partition("?")[0])
