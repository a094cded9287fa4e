"""What is known of an accepted request while it waits, runs and is asked for.

In Redis, each key with the task's id behind it:

    respond_async:request:    whose it is and what was asked, sealed
    respond_async:withdrawn:  its client was told 503: if the broker has it after all, drop it
    respond_async:deliveries: how often a worker has begun it
    respond_async:running:    which process runs it (see `leases`)
    respond_async:notified:   its result is stored and its owner was told
"""

from dataclasses import dataclass

import redis
import redis.asyncio
from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from respond_async.connections import AppRedis
from respond_async.envelope import CapturedRequest
from respond_async.errors import EnvelopeError
from respond_async.sealing import Sealer
from respond_async.settings import Settings

_PREFIX = "respond_async:"


class AcceptedRequest(BaseModel):
    """The record of one accepted request."""

    model_config = ConfigDict(frozen=True)

    #: The internal name of the owner's channel.
    channel: str
    method: str
    #: Path and query as requested.
    endpoint: str
    accepted_at: AwareDatetime

    @classmethod
    def of(cls, request: CapturedRequest) -> "AcceptedRequest":
        """The record of a captured request."""
        return cls(
            channel=request.channel,
            method=request.method,
            endpoint=request.endpoint,
            accepted_at=request.accepted_at,
        )


@dataclass(frozen=True, slots=True)
class Lookup:
    """What an owner's question finds."""

    request: AcceptedRequest | None
    #: Its result was stored once, and perhaps is gone by now.
    ended: bool


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a worker finds when it begins a request."""

    withdrawn: bool
    #: 1 the first time.
    number: int


class _Records:
    def __init__(self, settings: Settings) -> None:
        self._ttl = settings.result_ttl_seconds
        self._sealer = Sealer(settings, "record")

    def _sealed(self, request: CapturedRequest) -> str:
        return self._sealer.seal(AcceptedRequest.of(request).model_dump_json().encode())

    def _opened(self, sealed: bytes | None) -> AcceptedRequest | None:
        if sealed is None:
            return None
        try:
            return AcceptedRequest.model_validate_json(
                self._sealer.open(sealed.decode("utf-8", "replace"))
            )
        except ValidationError:
            raise EnvelopeError("the record is not one that this version can read") from None


class AppRecords(_Records):
    """The app's side, for asyncio."""

    def __init__(self, settings: Settings, connection: AppRedis) -> None:
        super().__init__(settings)
        self._redis = connection

    async def add(self, request: CapturedRequest) -> None:
        """Writes the record.

        Raises:
            redis.RedisError: Redis did not take it.
        """
        key = _key("request", request.task_id)
        await self._redis.client().set(key, self._sealed(request), ex=self._ttl)

    async def withdraw(self, task_id: str) -> None:
        """Removes the record; a worker that gets the request all the same drops it.

        Raises:
            redis.RedisError: Redis did not take it.
        """
        async with self._redis.client().pipeline() as pipe:
            pipe.set(_key("withdrawn", task_id), b"1", ex=self._ttl)
            pipe.delete(_key("request", task_id))
            await pipe.execute()

    async def find(self, task_id: str) -> Lookup:
        """What is known of a task.

        Raises:
            redis.RedisError: Redis did not answer.
            EnvelopeError: The record was sealed with another SECRET_KEY.
        """
        async with self._redis.client().pipeline(transaction=False) as pipe:
            pipe.get(_key("request", task_id))
            pipe.exists(_key("notified", task_id))
            sealed, ended = await pipe.execute()
        return Lookup(self._opened(sealed), bool(ended))


class WorkerRecords(_Records):
    """The worker's side."""

    def __init__(self, settings: Settings, connection: redis.Redis) -> None:
        super().__init__(settings)
        self._redis = connection

    def begin(self, request: CapturedRequest) -> Delivery:
        """Counts the delivery, and restores the record if Redis lost it meanwhile.

        Raises:
            redis.RedisError: Redis did not answer.
        """
        task_id = request.task_id
        with self._redis.pipeline() as pipe:
            pipe.exists(_key("withdrawn", task_id))
            pipe.incr(_key("deliveries", task_id))
            pipe.expire(_key("deliveries", task_id), self._ttl)
            pipe.set(_key("request", task_id), self._sealed(request), ex=self._ttl)
            withdrawn, number, *_ = pipe.execute()
        if withdrawn:
            self._redis.delete(_key("request", task_id), _key("deliveries", task_id))
        return Delivery(bool(withdrawn), number)

    def channel_to_notify(self, task_id: str, request: CapturedRequest | None) -> str | None:
        """The owner's channel; None if the owner was told already or nobody knows the task.

        Args:
            task_id: The task.
            request: What it replayed, where that is known; Redis may have lost the record.

        Raises:
            redis.RedisError: Redis did not answer.
            EnvelopeError: The record was sealed with another SECRET_KEY.
        """
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.get(_key("request", task_id))
            pipe.exists(_key("notified", task_id))
            sealed, notified = pipe.execute()
        if notified:
            return None
        owner = request or self._opened(sealed)
        return owner.channel if owner else None

    def mark_ended(
        self, pipe: "redis.client.Pipeline", task_id: str, request: CapturedRequest | None
    ) -> None:
        """Marks the owner as told; record and marker live as long as the result from now on.

        Args:
            pipe: What the commands are added to.
            task_id: The task.
            request: What it replayed, where that is known: restores a record that Redis lost.
        """
        pipe.set(_key("notified", task_id), b"1", ex=self._ttl)
        if request is None:
            pipe.expire(_key("request", task_id), self._ttl)
        else:
            pipe.set(_key("request", task_id), self._sealed(request), ex=self._ttl)
        pipe.delete(_key("deliveries", task_id))


def _key(kind: str, task_id: str) -> str:
    return f"{_PREFIX}{kind}:{task_id}"
