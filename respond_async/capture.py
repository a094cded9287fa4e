"""Accepting a request: it goes to the queue instead of to its endpoint."""

import asyncio
import hashlib
import logging
import secrets
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import quote

import redis
from fastapi import Header, Request, Response
from starlette.datastructures import Headers
from starlette.routing import BaseRoute, Match, Router

from respond_async.accepted import AppRecords
from respond_async.admission import Admission
from respond_async.celery_face import CeleryFace
from respond_async.claims import Claims, ClaimWriter
from respond_async.envelope import BodyClaim, CapturedRequest
from respond_async.errors import StoreUnavailableError
from respond_async.idempotency import IDEMPOTENCY_HEADER, read_key
from respond_async.identity import Identities, Identity
from respond_async.options import Chosen, OptionsTable
from respond_async.owned import OwnedWrites
from respond_async.paths import RESULT_PATH
from respond_async.prefer import Preferences, parse_prefer
from respond_async.problems import Problem, unavailable
from respond_async.publishing import BrokerUnavailableError
from respond_async.raw_answer import raw_answer, verbatim
from respond_async.raw_request import App, RawRequest, Receive, Send
from respond_async.scope import ASYNC_HEADER, RAW_REQUEST, Scope, replay_info
from respond_async.sealing import Sealer
from respond_async.settings import Settings
from respond_async.stored import StoredAnswers
from respond_async.task_ids import TaskIds
from respond_async.waiting import Waits
from ws_hub import is_anonymous_name

logger = logging.getLogger(__name__)


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
        admission: Admission,
        owned: OwnedWrites,
        stored: StoredAnswers,
        waits: Waits,
    ) -> None:
        self._settings = settings
        self._identities = identities
        self._celery = celery
        self._records = records
        self._claims = claims
        self._ids = ids
        self._admission = admission
        self._owned = owned
        self._stored = stored
        self._waits = waits
        self._dropped = {name.lower().encode() for name in settings.drop_headers}
        self._sealer = Sealer(settings, "request")

    async def accept(self, raw: RawRequest, chosen: Chosen | None = None) -> Response:
        """202, once the broker has the request; its own answer if it is there in time.

        Args:
            raw: The request.
            chosen: The options of its endpoint.

        Raises:
            Problem: It cannot be accepted.
        """
        headers = Headers(scope=raw.scope)
        await self._identities.prepare(headers)
        owner, made_channel = self._owner(headers)
        await self._identities.refuse_revoked(owner)
        self._refuse_readable_credentials(headers)
        key = self._idempotency_key(headers, made_channel)
        queue = (chosen and chosen.options.plan.queue) or self._settings.kafka_topic
        self._admission.backlogs.check(queue)
        now = datetime.now(UTC)
        task_id = self._ids.make(owner.channel, now)
        request = CapturedRequest.of(self._without_dropped(raw.scope), task_id, now, owner.channel)
        digest = hashlib.sha256() if key is not None else None
        try:
            body, claim = await self._body(raw, task_id, digest)
        except StoreUnavailableError as error:
            raise self._refused(task_id, "storage", error) from None
        request = request.model_copy(update={"claim": claim})
        try:
            if chosen is not None:
                plan = chosen.plan(raw.scope, None if claim else body)
                request = request.model_copy(update={"plan": plan})
            request = await self._admitted(request, body, key, digest.digest() if digest else b"")
        except Problem:
            if claim is not None:
                await self._discard(task_id)
            raise
        preferences = parse_prefer(headers.getlist("prefer"))
        direct = await self._direct(request, preferences)
        if direct is not None:
            return verbatim(raw.scope, direct)
        place = self._admission.backlogs.place(queue)
        applied = preferences.applied(asynchronously=True)
        added = {**place, "Preference-Applied": applied}
        return self._answer(raw.scope, request.task_id, made_channel, added)

    async def _admitted(
        self, request: CapturedRequest, body: bytes, key: str | None, digest: bytes
    ) -> CapturedRequest:
        """The request as the queue has it: under the id of an earlier one with the same key."""
        task_id, claim = request.task_id, request.claim
        async with self._admission.admitted(request, key, digest) as admitted:
            request = admitted.request
            if not admitted.repeated:
                if claim is not None and request.task_id != task_id:
                    await self._move(claim, task_id, request.task_id)
                await self._accept(request, body)
                self._owned.add(request)
            elif claim is not None:
                await self._discard(task_id)
        return request

    async def _direct(self, request: CapturedRequest, preferences: Preferences) -> Response | None:
        """The endpoint's own answer, if it is there within the time that the client waits."""
        seconds = min(preferences.wait_seconds or 0, self._settings.long_poll_max_seconds)
        if not seconds:
            return None
        issued = self._ids.read(request.task_id)
        try:
            answer = await self._waits.until(
                request.channel,
                request.task_id,
                seconds,
                lambda: self._stored.find(request.task_id, issued),
            )
        except Problem as problem:
            # It is accepted all the same: its client asks for the result later.
            logger.warning("request %s is not waited for: %s", request.task_id, problem.detail)
            return None
        if answer is None:
            return None
        applied = preferences.applied(asynchronously=False)
        added = {"Preference-Applied": applied, "Vary": "Prefer"}
        return raw_answer(answer, self._stored.pieces(request.task_id, answer), added)

    @staticmethod
    def _idempotency_key(headers: Headers, made_channel: str | None) -> str | None:
        key = read_key(headers.getlist(IDEMPOTENCY_HEADER))
        if key is not None and made_channel is not None:
            raise Problem(
                400,
                "An Idempotency-Key is its owner's: send a Bearer token, or an anonymous channel"
                " in X-Async-Request.",
            )
        return key

    def _without_dropped(self, scope: dict[str, Any]) -> dict[str, Any]:
        if not self._dropped:
            return scope
        kept = [(name, value) for name, value in scope["headers"] if name not in self._dropped]
        return {**scope, "headers": kept}

    async def _move(self, claim: BodyClaim, from_id: str, to_id: str) -> None:
        """A body that was kept before it was known under which id its request goes."""
        writer = self._claims.writer(to_id)
        try:
            async for piece in self._claims.pieces(from_id, claim):
                await writer.write(piece)
            await writer.finish()
        except StoreUnavailableError as error:
            raise self._refused(to_id, "storage", error) from None
        await self._discard(from_id)

    async def _discard(self, task_id: str) -> None:
        try:
            await self._claims.discard(task_id)
        except StoreUnavailableError as error:
            logger.warning("request %s: what was stored ends by its TTL: %s", task_id, error)

    async def _body(
        self, raw: RawRequest, task_id: str, digest: "hashlib._Hash | None"
    ) -> tuple[bytes, BodyClaim | None]:
        """The body, or the claim on it; nothing stays behind of one that does not arrive whole."""
        most = self._settings.claim_check_bytes
        body = bytearray()
        writer: ClaimWriter | None = None
        try:
            async for part in raw.stream():
                if digest is not None:
                    digest.update(part)
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
        # Asked for by `Prefer` alone: whoever the token names, or a channel made now.
        given = headers.getlist(ASYNC_HEADER) or ["true"]
        value, *others = {value.strip() for value in given}
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
            await self._celery.publish(request, body, self._sealer)
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

    def _answer(
        self, scope: Scope, task_id: str, made_channel: str | None, added: Mapping[str, str]
    ) -> Response:
        # Neither an id nor a channel's name has a character that JSON escapes.
        named = f',"channel":"{made_channel}"' if made_channel is not None else ""
        root = scope.get("root_path", "").rstrip("/")
        return Response(
            f'{{"data":null,"meta":{{"async_request_id":"{task_id}"{named}}}}}',
            202,
            {
                "Location": quote(root) + RESULT_PATH.format(task_id=task_id),
                "Retry-After": str(self._settings.retry_after_seconds),
                "Vary": "Prefer, X-Async-Request",
                "Cache-Control": "no-store",
                **added,
            },
            "application/json",
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
        self._options = OptionsTable(router)

    def exempt(self, routes: Collection[BaseRoute]) -> None:
        """Has these routes never captured either."""
        self._own = [*self._own, *routes]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one connection (ASGI)."""
        raw = scope.get(RAW_REQUEST)
        if scope["type"] != "http" or not isinstance(raw, RawRequest):
            await self._app(scope, receive, send)
        elif self._is_captured(scope):
            response = await self._capture.accept(raw, self._options.chosen(scope))
            await response(scope, receive, send)
        else:
            raw.release()
            await self._app(scope, receive, send)

    def _is_captured(self, scope: Scope) -> bool:
        for route in self._router.routes:
            if route.matches(scope)[0] is Match.FULL:
                return route not in self._own
        return False


async def documented(
    _header: Annotated[
        str | None,
        Header(
            alias="X-Async-Request",
            description="`true`, or the name of an anonymous channel: answers 202 at once,"
            " the endpoint's own answer is fetched later.",
        ),
    ] = None,
    _prefer: Annotated[
        str | None,
        Header(
            alias="Prefer",
            description="`respond-async` (RFC 7240) asks as `X-Async-Request: true` does; with"
            " `wait=N` the answer comes directly if it is there within N seconds.",
        ),
    ] = None,
    _key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            description="Of a request that is answered 202: sent again with the same key it has"
            " the same id and runs once.",
        ),
    ] = None,
) -> None:
    """The dependency of the whole app: shows the headers in its documentation.

    Async: FastAPI takes others to a thread, for every request.
    """


async def require_async(request: Request) -> None:
    """A dependency: lets the endpoint run in a worker alone.

    Raises:
        Problem: 409, the request has no `X-Async-Request`.
    """
    # A request with the header never comes so far, except in a replay.
    if replay_info(request.scope) is None:
        raise Problem(409, "This endpoint answers asynchronously only: send X-Async-Request: true.")
