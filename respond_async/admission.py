"""What may stand between a request and the queue: backlog, idempotency key, limits.

In the default configuration none of it asks Redis: only a request with a key, or a limit that is
set, costs a round trip.
"""

import logging
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, TypeVar

import redis

from respond_async.connections import AppRedis
from respond_async.envelope import CapturedRequest
from respond_async.idempotency import Claim, IdempotencyKeys, Repeated
from respond_async.limits import AppLimits
from respond_async.overload import Backlogs
from respond_async.problems import unavailable
from respond_async.settings import Settings

logger = logging.getLogger(__name__)

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Admitted:
    """A request that may go to the queue, or is there."""

    #: With the id and moment of an earlier attempt, where there was one.
    request: CapturedRequest
    #: The queue has it from an earlier request with the same key.
    repeated: bool = False


class Admission:
    """Lets requests in.

    Args:
        settings: Limits.
        connection: The app's Redis.
        backlogs: What waits.
    """

    def __init__(self, settings: Settings, connection: AppRedis, backlogs: Backlogs) -> None:
        self._retry_after: Final = settings.retry_after_seconds
        self._keys: Final = IdempotencyKeys(settings, connection)
        self._limits: Final = AppLimits(settings, connection)
        self._limited: Final = self._limits.any
        self.backlogs: Final = backlogs

    def is_free(self, key: str | None) -> bool:
        """Whether a request is let in without asking anybody: `admitted` would do nothing."""
        return key is None and not self._limited

    @asynccontextmanager
    async def admitted(
        self, request: CapturedRequest, key: str | None, body_digest: bytes
    ) -> AsyncIterator[Admitted]:
        """Holds the request's place while the block brings it to the queue.

        A block that raises gives all of it back; one that is cancelled does not, since nobody
        knows whether the queue has the request.

        Args:
            request: As it is to be accepted.
            key: Its Idempotency-Key.
            body_digest: Of its whole body; looked at if there is a key.

        Raises:
            Problem: 409 or 422 of the key; 429 of a limit; 503, Redis does not answer.
        """
        claim: Claim | None = None
        if key is not None:
            found = await self._asked(self._keys.claim(key, request, body_digest))
            if isinstance(found, Repeated):
                yield Admitted(request.model_copy(update={"task_id": found.task_id}), repeated=True)
                return
            claim = found
            record = claim.record
            request = request.model_copy(
                update={"task_id": record.task_id, "accepted_at": record.accepted_at}
            )
        limited = self._limited
        try:
            if limited:
                await self._asked(self._limits.enter(request))
            yield Admitted(request)
        except Exception:
            await self._give_back(request if limited else None, claim)
            raise
        if claim is not None:
            await self._tried(self._keys.keep(claim))

    async def _asked(self, question: Awaitable[_T]) -> _T:
        try:
            return await question
        except (redis.RedisError, OSError) as error:
            logger.warning("a request is refused with 503: %s", error)
            raise unavailable(
                "The request was not accepted: the storage does not answer. Try again later.",
                self._retry_after,
            ) from None

    async def _give_back(self, request: CapturedRequest | None, claim: Claim | None) -> None:
        # The key first: a server that dies in between leaves a client that may come again.
        if claim is not None:
            await self._tried(self._keys.give_up(claim))
        if request is not None:
            await self._tried(self._limits.leave(request))

    async def _tried(self, write: Awaitable[None]) -> None:
        try:
            await write
        except (redis.RedisError, OSError) as error:
            # It ends by its time to live; until then it says what was true a moment ago.
            logger.warning("a limit or an idempotency key is not up to date: %s", error)
