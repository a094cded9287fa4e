"""Claim checks: a body too large for a message is kept in Redis until its result is stored.

Under `respond_async:body:` and the task's id: a hash of sealed pieces by their number. In pieces,
so that each command stays small against REDIS_TIMEOUT_SECONDS and sealing needs little memory;
numbered, so that one that is written twice does no harm.
"""

import asyncio
import hashlib
from itertools import count

import redis

from respond_async.accepted import key
from respond_async.connections import AppRedis
from respond_async.envelope import BodyClaim
from respond_async.errors import BodyLostError
from respond_async.sealing import Sealer
from respond_async.settings import Settings

_PIECE_BYTES = 1024 * 1024


class AppClaims:
    """The app's side: stores bodies."""

    def __init__(self, settings: Settings, connection: AppRedis) -> None:
        self._ttl = settings.result_ttl_seconds
        self._sealer = Sealer(settings, "body")
        self._redis = connection

    async def store(self, task_id: str, body: bytes) -> BodyClaim:
        """Keeps `body` for RESULT_TTL_SECONDS.

        Raises:
            redis.RedisError: Redis did not take it; pieces of it may be there.
        """
        client = self._redis.client()
        place_of_body = key("body", task_id)
        for place, start in enumerate(range(0, len(body), _PIECE_BYTES)):
            sealed = await asyncio.to_thread(self._sealer.seal, body[start : start + _PIECE_BYTES])
            async with client.pipeline() as pipe:
                pipe.hset(place_of_body, str(place), sealed)
                pipe.expire(place_of_body, self._ttl)
                await pipe.execute()
        digest = await asyncio.to_thread(_digest, body)
        return BodyClaim(size=len(body), sha256=digest)

    async def discard(self, task_id: str) -> None:
        """Removes the body.

        Raises:
            redis.RedisError: Redis did not answer.
        """
        await self._redis.client().unlink(key("body", task_id))


class WorkerClaims:
    """The worker's side: fetches bodies."""

    def __init__(self, settings: Settings, connection: redis.Redis) -> None:
        self._sealer = Sealer(settings, "body")
        self._redis = connection

    def fetch(self, task_id: str, claim: BodyClaim) -> bytes:
        """The body as it was captured.

        Raises:
            BodyLostError: Redis does not have it, or not all of it.
            EnvelopeError: A piece was not sealed by the app.
            redis.RedisError: Redis did not answer.
        """
        pieces = []
        for place in count():
            sealed = self._redis.hget(key("body", task_id), str(place))
            if sealed is None:
                break
            text = sealed.decode() if isinstance(sealed, bytes) else sealed
            pieces.append(self._sealer.open(text))
        body = b"".join(pieces)
        if len(body) != claim.size or _digest(body) != claim.sha256:
            raise BodyLostError(
                f"Redis has {len(body)} of the {claim.size} bytes of the request's body"
            )
        return body


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
