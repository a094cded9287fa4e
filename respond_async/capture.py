"""Accepting a request: it goes to the queue instead of to its endpoint."""

import logging
import secrets
from datetime import UTC, datetime
from typing import Annotated, Final
from urllib.parse import quote

import redis
from fastapi import Header, Request, Response
from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection

from respond_async.accepted import AppRecords
from respond_async.celery_face import BrokerUnavailableError, CeleryFace
from respond_async.claims import AppClaims
from respond_async.envelope import CapturedRequest
from respond_async.identity import Identities, Identity
from respond_async.problems import Problem, unavailable
from respond_async.raw_request import RawRequest
from respond_async.scope import ASYNC_HEADER, RAW_REQUEST, Scope, replay_info
from respond_async.sealing import Sealer
from respond_async.settings import Settings
from respond_async.task_ids import TaskIds
from ws_hub import is_anonymous_name

logger = logging.getLogger(__name__)

RESULT_PATH: Final = "/api/v1/async_background_response/{task_id}/"


class Accepted(Exception):
    """Raised by the capture once the broker has the request; its handler answers 202."""

    def __init__(self, response: Response) -> None:
        super().__init__("the request was accepted")
        self.response = response


def answer_accepted(_: Request, accepted: Exception) -> Response:
    """The exception handler of `Accepted`."""
    assert isinstance(accepted, Accepted)
    return accepted.response


class Capture:
    """The dependency of the whole app: a request with `X-Async-Request` ends here with 202."""

    def __init__(
        self,
        settings: Settings,
        identities: Identities,
        celery: CeleryFace,
        records: AppRecords,
        claims: AppClaims,
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

    async def __call__(
        self,
        connection: HTTPConnection,
        # For the API's documentation; the middleware has read it already.
        _header: Annotated[
            str | None,
            Header(
                alias="X-Async-Request",
                description="`true`, or the name of an anonymous channel: answers 202 at once,"
                " the endpoint's own answer is fetched later.",
            ),
        ] = None,
    ) -> None:
        """Captures; returns for a request that is not to be.

        Raises:
            Accepted: The broker has the request.
            Problem: It cannot be accepted.
        """
        raw = connection.scope.get(RAW_REQUEST)
        if not isinstance(raw, RawRequest):
            return
        owner, made_channel = self._owner(connection.headers)
        self._refuse_readable_credentials(connection.headers)
        body = await raw.body()
        now = datetime.now(UTC)
        task_id = self._ids.make(owner.channel, now)
        request = CapturedRequest.of(raw.scope, task_id, now, owner.channel)
        await self._accept(request, body)
        raise Accepted(self._answer(raw.scope, request.task_id, made_channel))

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
            if len(body) > self._settings.claim_check_bytes:
                claim = await self._claims.store(request.task_id, body)
                request = request.model_copy(update={"claim": claim})
            await self._celery.publish(request, lambda: request.sealed(body, self._sealer))
        except Exception as error:
            await self._withdraw(request.task_id)
            if not isinstance(error, BrokerUnavailableError | redis.RedisError | OSError):
                raise
            what = "queue" if isinstance(error, BrokerUnavailableError) else "storage"
            # Which server and why is for the operator alone.
            logger.warning("request %s refused with 503: %s", request.task_id, error)
            raise unavailable(
                f"The request was not accepted: the {what} does not answer. Try again later.",
                self._settings.retry_after_seconds,
            ) from None

    async def _withdraw(self, task_id: str) -> None:
        try:
            await self._records.withdraw(task_id)
            await self._claims.discard(task_id)
        except (redis.RedisError, OSError) as error:
            logger.warning("request %s: what was stored ends by its TTL: %s", task_id, error)

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


async def require_async(request: Request) -> None:
    """A dependency: lets the endpoint run in a worker alone.

    Raises:
        Problem: 409, the request has no `X-Async-Request`.
    """
    # A request with the header never comes so far, except in a replay.
    if replay_info(request.scope) is None:
        raise Problem(409, "This endpoint answers asynchronously only: send X-Async-Request: true.")
