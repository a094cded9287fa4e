"""Who a caller is: the bearer of a JWT, or somebody who knows an anonymous channel's name."""

import asyncio
import logging
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Final

from fastapi import Query
from redis.exceptions import RedisError
from starlette.requests import HTTPConnection

from respond_async.connections import AppRedis
from respond_async.errors import ConfigurationError
from respond_async.problems import Problem, unauthorized, unavailable
from respond_async.scope import ASYNC_HEADER, IDENTITIES, replay_info
from respond_async.settings import Settings
from ws_hub import (
    Claims,
    Revocations,
    SharedPipeline,
    TokenRejected,
    TokenVerifier,
    anonymous_channel,
    is_anonymous_name,
    user_channel,
    user_of_channel,
)

logger = logging.getLogger(__name__)

# Of a direct request, on whether its token was revoked.
_LONGEST_LOOK_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Identity:
    """A caller."""

    #: The token's subject; None for an anonymous caller.
    sub: str | None
    #: The internal name of the caller's own channel, under which results belong to them.
    channel: str
    #: What the caller's token says, if it is judged now.
    claims: Claims | None = field(default=None, repr=False, compare=False)


class Identities:
    """Tells callers by the settings' keys.

    Args:
        settings: Keys, and whether anonymous callers are let in.
        redis: The app's Redis, which knows of revoked tokens. A worker needs none: a token is
            judged when its request is accepted.

    Raises:
        ws_hub.HubConfigurationError: JWT_PUBLIC_KEY is not a key for JWT_ALGORITHM.
    """

    def __init__(self, settings: Settings, redis: AppRedis | None = None) -> None:
        self._retry_after = settings.retry_after_seconds
        self._revocations = Revocations(SharedPipeline(redis.client)) if redis else None
        self._tokens = TokenVerifier(settings)
        self._allow_anonymous = settings.allow_anonymous
        self._ignores_tokens = settings.bearer_tokens == "ignored"
        # Without a key a captured request proves nothing: then its token must.
        self._sealed = bool(settings.secret_key)

    async def prepare(self, authorization: str | None) -> None:
        """Fetches the key that the token of that header was signed with, if it is to be fetched."""
        token = self._bearer(authorization)
        if token is not None:
            await self._tokens.prepare(token)

    def of_token(self, authorization: str | None, at: datetime | None = None) -> Identity | None:
        """The bearer of the token; None without one, or if tokens are ignored.

        Args:
            authorization: The request's header of that name.
            at: The moment the token is judged by; default: now.

        Raises:
            Problem: 401, the token is not valid.
        """
        token = self._bearer(authorization)
        if token is None:
            return None
        try:
            claims = self._tokens.verify(token, at)
        except TokenRejected as rejected:
            raise unauthorized(_sentence(rejected.reason)) from None
        return Identity(claims.sub, user_channel(claims.sub), None if at else claims)

    async def refuse_revoked(self, identity: Identity) -> None:
        """Returns if the caller's token, if there is one, was not revoked.

        Raises:
            Problem: 401, it was; 503, Redis does not say.
        """
        if identity.claims is None or self._revocations is None:
            return
        try:
            await self._revocations.check(identity.claims, 0.0)
        except TokenRejected as rejected:
            raise unauthorized(_sentence(rejected.reason)) from None
        except (RedisError, OSError):
            detail = "Whether the token was revoked is not known now: try again."
            raise unavailable(detail, self._retry_after) from None

    def _bearer(self, authorization: str | None) -> str | None:
        if self._ignores_tokens or authorization is None:
            return None
        scheme, _, token = authorization.strip().partition(" ")
        return token.strip() if scheme.lower() == "bearer" else None

    def anonymous(self, name: str | None) -> Identity | None:
        """Who knows the anonymous channel `name`; None if it is none.

        Raises:
            Problem: 401, anonymous callers are not let in.
        """
        if name is None or not is_anonymous_name(name):
            return None
        if not self._allow_anonymous:
            raise unauthorized("Anonymous access is switched off: send a Bearer token.")
        return Identity(None, anonymous_channel(name))

    def of(self, connection: HTTPConnection) -> Identity | None:
        """The caller of a request; in a replay, who it was when the request was accepted.

        Raises:
            Problem: 401, the token is not valid, or anonymous callers are not let in.
        """
        info = replay_info(connection.scope)
        if info is not None and self._sealed:
            # Sealed when its token had been verified; by now the key that signed that may be gone.
            return Identity(user_of_channel(info.channel), info.channel)
        authorization = connection.headers.get("authorization")
        bearer = self.of_token(authorization, info.accepted_at if info else None)
        if bearer is not None:
            return bearer
        if info is not None:
            return Identity(None, info.channel)
        return self.anonymous(connection.headers.get(ASYNC_HEADER))


async def optional_identity(connection: HTTPConnection) -> Identity | None:
    """A dependency: the caller, or None if the request names nobody.

    In a replay the token is judged by the moment the request was accepted. Whether it was revoked is
    not asked for while Redis is away.

    Raises:
        Problem: 401, there is a token and it is not valid, or was revoked.
        ConfigurationError: There is no `AsyncRequests` on this app.
    """
    identities = connection.scope.get(IDENTITIES)
    if not isinstance(identities, Identities):
        raise ConfigurationError("identities need AsyncRequests(app, celery=...) on this app")
    await identities.prepare(connection.headers.get("authorization"))
    identity = identities.of(connection)
    if identity is not None:
        try:
            async with asyncio.timeout(_LONGEST_LOOK_SECONDS):
                await identities.refuse_revoked(identity)
        except (Problem, TimeoutError) as problem:
            if isinstance(problem, Problem) and problem.status_code == HTTPStatus.UNAUTHORIZED:
                raise
            # A direct request needs no Redis: while that is away, its valid token is enough.
            logger.warning("whether a token was revoked is not known: Redis does not answer")
    return identity


async def current_owner(
    connection: HTTPConnection,
    channel: Annotated[str | None, Query(description="Of an anonymous caller.")] = None,
) -> Identity:
    """A dependency: as `current_identity`, for what is answered at once to anonymous callers too.

    Those name their channel in the query: X-Async-Request would have the request run later.

    Raises:
        Problem: 401, the request names nobody, or its token is not valid.
        ConfigurationError: There is no `AsyncRequests` on this app.
    """
    identity = await optional_identity(connection)
    if identity is None:
        identity = connection.scope[IDENTITIES].anonymous(channel)
    if identity is None:
        raise unauthorized("Send a Bearer token, or an anonymous channel in ?channel=.")
    return identity


async def current_identity(connection: HTTPConnection) -> Identity:
    """A dependency: the caller.

    Raises:
        Problem: 401, the request names nobody, or its token is not valid.
        ConfigurationError: There is no `AsyncRequests` on this app.
    """
    identity = await optional_identity(connection)
    if identity is None:
        raise unauthorized("Send a Bearer token, or an anonymous channel in X-Async-Request.")
    return identity


def _sentence(reason: str) -> str:
    return reason[:1].upper() + reason[1:] + "."
