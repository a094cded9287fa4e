"""Accepting a request: it goes to the queue instead of to its endpoint."""

import asyncio
import hashlib
import logging
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import quote

import redis
from fastapi import Header, Request, Response

from respond_async.accepted import AppRecords
from respond_async.admission import Admission
from respond_async.asking import Asking
from respond_async.celery_face import CeleryFace
from respond_async.claims import Claims, ClaimWriter
from respond_async.envelope import BodyClaim, CapturedRequest
from respond_async.errors import StoreUnavailableError
from respond_async.idempotency import read_key
from respond_async.identity import Identities, Identity
from respond_async.options import Chosen
from respond_async.owned import OwnedWrites
from respond_async.paths import RESULT_PATH
from respond_async.prefer import Preferences, parse_prefer
from respond_async.problems import Problem, unavailable
from respond_async.publishing import BrokerUnavailableError
from respond_async.raw_answer import raw_answer, verbatim
from respond_async.raw_request import RawRequest
from respond_async.scope import Scope, replay_info
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
        asking = Asking.of(raw.scope["headers"])
        owner, made_channel = await self._owner(asking)
        await self._identities.refuse_revoked(owner)
        if asking.has_credentials:
            self._refuse_readable_credentials()
        key = self._idempotency_key(asking, made_channel)
        queue = (chosen and chosen.options.plan.queue) or self._settings.kafka_topic
        self._admission.backlogs.check(queue)
        now = datetime.now(UTC)
        task_id = self._ids.make(owner.channel, now)
        digest = hashlib.sha256() if key is not None else None
        try:
            body, claim = await self._body(raw, task_id, digest)
        except StoreUnavailableError as error:
            raise self._refused(task_id, "storage", error) from None
        try:
            request = CapturedRequest.of(
                self._without_dropped(raw.scope),
                task_id,
                now,
                owner.channel,
                claim=claim,
                plan=chosen.plan(raw.scope, None if claim else body) if chosen else None,
            )
            if self._admission.is_free(key):
                await self._accept(request, body)
            else:
                request = await self._admitted(request, body, key, digest)
        except Problem:
            if claim is not None:
                await self._discard(task_id)
            raise
        preferences = parse_prefer(asking.prefer)
        direct = await self._direct(request, preferences) if preferences.wait_seconds else None
        if direct is not None:
            return verbatim(raw.scope, direct)
        place = self._admission.backlogs.place(queue)
        return self._accepted(raw.scope, request.task_id, made_channel, preferences, place)

    async def _admitted(
        self,
        request: CapturedRequest,
        body: bytes,
        key: str | None,
        digest: "hashlib._Hash | None",
    ) -> CapturedRequest:
        """The request as the queue has it: under the id of an earlier one with the same key."""
        task_id, claim = request.task_id, request.claim
        digested = digest.digest() if digest else b""
        async with self._admission.admitted(request, key, digested) as admitted:
            request = admitted.request
            if not admitted.repeated:
                if claim is not None and request.task_id != task_id:
                    await self._move(claim, task_id, request.task_id)
                await self._accept(request, body)
            elif claim is not None:
                await self._discard(task_id)
        return request

    async def _direct(self, request: CapturedRequest, preferences: Preferences) -> Response | None:
        """The endpoint's own answer, if it is there within the time that the client waits."""
        seconds = min(preferences.wait_seconds or 0, self._settings.long_poll_max_seconds)
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
    def _idempotency_key(asking: Asking, made_channel: str | None) -> str | None:
        key = read_key(asking.idempotency_key)
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

    async def _owner(self, asking: Asking) -> tuple[Identity, str | None]:
        """The caller, and the name of the channel that was made for them if one was."""
        authorization = asking.authorization[0] if asking.authorization else None
        await self._identities.prepare(authorization)
        # Asked for by `Prefer` alone: whoever the token names, or a channel made now.
        value, *others = {value.strip() for value in asking.asynchronously or ["true"]}
        wants_own = value.lower() == "true"
        if others or not (wants_own or is_anonymous_name(value)):
            raise Problem(
                400,
                "X-Async-Request must be `true`, `false` or the name of an anonymous channel:"
                " 16 to 128 characters of A-Z a-z 0-9 _ -.",
            )
        # With a valid token the channel is the user's own, whatever name the header has.
        bearer = self._identities.of_token(authorization)
        made = secrets.token_urlsafe(24) if wants_own and bearer is None else None
        owner = bearer or self._identities.anonymous(made or value)
        assert owner is not None
        return owner, made

    def _refuse_readable_credentials(self) -> None:
        if not self._sealer.encrypts:
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
        self._owned.add(request)

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

    def _accepted(
        self,
        scope: Scope,
        task_id: str,
        made_channel: str | None,
        preferences: Preferences,
        place: Mapping[str, str],
    ) -> Response:
        # Neither an id nor a channel's name has a character that JSON escapes.
        named = f',"channel":"{made_channel}"' if made_channel is not None else ""
        body = f'{{"data":null,"meta":{{"async_request_id":"{task_id}"{named}}}}}'
        root = quote(scope.get("root_path", "").rstrip("/"))
        return Accepted(
            body.encode(),
            [
                (b"content-length", b"%d" % len(body)),
                (b"content-type", b"application/json"),
                (b"location", (root + RESULT_PATH.format(task_id=task_id)).encode()),
                (b"retry-after", b"%d" % self._settings.retry_after_seconds),
                (b"vary", b"Prefer, X-Async-Request"),
                (b"cache-control", b"no-store"),
                *((name.lower().encode(), value.encode()) for name, value in place.items()),
                (b"preference-applied", preferences.applied(asynchronously=True).encode()),
            ],
        )


class Accepted(Response):
    """The 202, made of what needs no more work: Starlette's own constructor takes a while."""

    def __init__(self, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        self.status_code = 202
        self.background = None
        self.body = body
        self.raw_headers = headers


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
