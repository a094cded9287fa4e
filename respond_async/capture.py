"""Accepting a request: it goes to the queue instead of to its endpoint."""

import asyncio
import logging
import secrets
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Annotated, Final
from urllib.parse import quote

import redis
from fastapi import Header, Request, Response
from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.routing import BaseRoute, Match, Router

from respond_async.accepted import AppRecords
from respond_async.celery_face import BrokerUnavailableError, CeleryFace
from respond_async.claims import Claims, ClaimWriter
from respond_async.envelope import BodyClaim, CapturedRequest
from respond_async.errors import StoreUnavailableError
from respond_async.identity import Identities, Identity
from respond_async.problems import Problem, unavailable
from respond_async.raw_request import App, RawRequest, Receive, Send
from respond_async.scope import ASYNC_HEADER, RAW_REQUEST, Scope, replay_info
from respond_async.sealing import Sealer
from respond_async.settings import Settings
from respond_async.task_ids import TaskIds
from ws_hub import is_anonymous_name

logger = logging.getLogger(__name__)

RESULT_PATH: Final = "/api/v1/async_background_response/{task_id}/"


class Capture:
    """Takes a request with `X-Async-Request` to the queue."""

    def __init__(
        self,
        settings: Settings,
        identities: Identities,
        celery: CeleryFace,
        records: AppRecords,
        claims: Claims,
        *,
        ids: TaskIds,
    ) -> None:
        self._settings = settings
        self._identities = identities
        self._celery = celery
        self._records = records
        self._claims = claims
        self._ids = ids
        self._sealer = Sealer(settings, "request")

    async def accept(self, raw: RawRequest) -> Response:
        """202, once the broker has the request.

        Raises:
            Problem: It cannot be accepted.
        """
        headers = Headers(scope=raw.scope)
        owner, made_channel = self._owner(headers)
        self._refuse_readable_credentials(headers)
        now = datetime.now(UTC)
        task_id = self._ids.make(owner.channel, now)
        try:
            body, claim = await self._body(raw, task_id)
        except StoreUnavailableError as error:
            raise self._refused(task_id, "storage", error) from None
        request = CapturedRequest.of(raw.scope, task_id, now, owner.channel)
        request = request.model_copy(update={"claim": claim})
        await self._accept(request, body)
        return self._answer(raw.scope, request.task_id, made_channel)

    async def _body(self, raw: RawRequest, task_id: str) -> tuple[bytes, BodyClaim | None]:
        """The body, or the claim on it; nothing stays behind of one that does not arrive whole."""
        most = self._settings.claim_check_bytes
        body = bytearray()
        writer: ClaimWriter | None = None
        try:
            async for part in raw.stream():
                if writer is None:
                    body += part
                    if len(body) > most:
                        writer = self._claims.writer(task_id)
                        await writer.write(bytes(body))
                        body.clear()
                else:
                    await writer.write(part)
            return bytes(body), await writer.finish() if writer else None
        except BaseException:
            # Cancelled too: the server does so at its shutdown.
            if writer is not None:
                await asyncio.shield(writer.abandon())
            raise

    def _owner(self, headers: Headers) -> tuple[Identity, str | None]:
        """The caller, and the name of the channel that was made for them if one was."""
        value, *others = {value.strip() for value in headers.getlist(ASYNC_HEADER)}
        wants_own = value.lower() == "true"
        if others or not (wants_own or is_anonymous_name(value)):
            raise Problem(
                400,
                "X-Async-Request must be `true`, `false` or the name of an anonymous channel:"
                " 16 to 128 characters of A-Z a-z 0-9 _ -.",
            )
        # With a valid token the channel is the user's own, whatever name the header has.
        bearer = self._identities.of_token(headers)
        made = secrets.token_urlsafe(24) if wants_own and bearer is None else None
        owner = bearer or self._identities.anonymous(made or value)
        assert owner is not None
        return owner, made

    def _refuse_readable_credentials(self, headers: Headers) -> None:
        if self._sealer.encrypts:
            return
        if "authorization" in headers or "cookie" in headers:
            raise Problem(
                503,
                "A request with Authorization or Cookie is not queued unencrypted:"
                " SECRET_KEY must be set on the server.",
            )

    async def _accept(self, request: CapturedRequest, body: bytes) -> None:
        try:
            await self._celery.publish(request, lambda: request.sealed(body, self._sealer))
        except Exception as error:
            await self._withdraw(request)
            if not isinstance(error, BrokerUnavailableError | redis.RedisError | OSError):
                raise
            what = "queue" if isinstance(error, BrokerUnavailableError) else "storage"
            raise self._refused(request.task_id, what, error) from None

    def _refused(self, task_id: str, what: str, error: Exception) -> Problem:
        # Which server and why is for the operator alone.
        logger.warning("request %s refused with 503: %s", task_id, error)
        return unavailable(
            f"The request was not accepted: the {what} does not answer. Try again later.",
            self._settings.retry_after_seconds,
        )

    async def _withdraw(self, request: CapturedRequest) -> None:
        try:
            await self._records.withdraw(request.task_id)
            if request.claim is not None:
                await self._claims.discard(request.task_id)
        except (redis.RedisError, OSError, StoreUnavailableError) as error:
            logger.warning(
                "request %s: what was stored ends by its TTL: %s", request.task_id, error
            )

    def _answer(self, scope: Scope, task_id: str, made_channel: str | None) -> Response:
        meta = {"async_request_id": task_id}
        if made_channel is not None:
            meta["channel"] = made_channel
        root = scope.get("root_path", "").rstrip("/")
        return JSONResponse(
            {"data": None, "meta": meta},
            202,
            {
                "Location": quote(root) + RESULT_PATH.format(task_id=task_id),
                "Retry-After": str(self._settings.retry_after_seconds),
                # RFC 7240 4.1
                "Preference-Applied": "respond-async",
                "Cache-Control": "no-store",
            },
        )


class CapturePoint:
    """Stands between a FastAPI app's middlewares and its router.

    Here, and not in a dependency, so that mounted apps, plain routes and bodies that FastAPI
    cannot parse are captured too; and behind the middlewares, so that they refuse what they
    refuse and add their headers (CORS) to the 202. What no route takes (404, 405, a redirect to
    the path with a slash) is answered at once: a worker would give the same answer.

    Args:
        app: What routes.
        router: Knows the routes.
        capture: Accepts.
        own: Routes of the library, which are never captured.
    """

    def __init__(
        self, app: App, router: Router, capture: Capture, own: Collection[BaseRoute]
    ) -> None:
        self._app = app
        self._router = router
        self._capture = capture
        self._own = own

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one connection (ASGI)."""
        raw = scope.get(RAW_REQUEST)
        if scope["type"] != "http" or not isinstance(raw, RawRequest):
            await self._app(scope, receive, send)
        elif self._is_captured(scope):
            response = await self._capture.accept(raw)
            await response(scope, receive, send)
        else:
            raw.release()
            await self._app(scope, receive, send)

    def _is_captured(self, scope: Scope) -> bool:
        for route in self._router.routes:
            if route.matches(scope)[0] is Match.FULL:
                return route not in self._own
        return False


def documented(
    _header: Annotated[
        str | None,
        Header(
            alias="X-Async-Request",
            description="`true`, or the name of an anonymous channel: answers 202 at once,"
            " the endpoint's own answer is fetched later.",
        ),
    ] = None,
) -> None:
    """The dependency of the whole app: shows the header in its documentation."""


async def require_async(request: Request) -> None:
    """A dependency: lets the endpoint run in a worker alone.

    Raises:
        Problem: 409, the request has no `X-Async-Request`.
    """
    # A request with the header never comes so far, except in a replay.
    if replay_info(request.scope) is None:
        raise Problem(409, "This endpoint answers asynchronously only: send X-Async-Request: true.")
