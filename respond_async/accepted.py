"""What Redis knows of an accepted request beside its result.

An id says itself whose it is and how old (`task_ids`), so nothing is written when a request is
accepted. Each key has the task's id behind it:

    respond_async:withdrawn:  its client was told 503: if the broker has it after all, drop it
    respond_async:running:    which process runs it (see `leases`)
    respond_async:deliveries: how often a worker has begun it
    respond_async:notified:   its result is stored and its owner was told
    respond_async:endpoint:   what was asked, sealed; of one that ended without an answer
    respond_async:body:       a body too large for a message (see `claims`)
"""

from dataclasses import dataclass
from typing import Final

from respond_async.connections import AppRedis
from respond_async.sealing import Sealer
from respond_async.settings import Settings

_PREFIX: Final = "respond_async:"

#: In `notified`, once the owner wants to hear of it no more.
FORGOTTEN: Final = "forgotten"


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of an id beside its result."""

    #: Its client was told 503.
    withdrawn: bool
    #: Its result was stored once, and perhaps is gone by now.
    ended: bool
    #: Path and query as requested; "" unless it ended without an answer of its endpoint.
    endpoint: str


class AppRecords:
    """The app's side, for asyncio; the worker's is `runs`."""

    def __init__(self, settings: Settings, connection: AppRedis) -> None:
        self._ttl = settings.result_ttl_seconds
        self._sealer = Sealer(settings, "record")
        self._redis = connection

    async def withdraw(self, task_id: str) -> None:
        """Has a worker that gets the request all the same drop it.

        Raises:
            redis.RedisError: Redis did not take it.
        """
        await self._redis.client().set(key("withdrawn", task_id), b"1", ex=self._ttl)

    async def find(self, task_id: str) -> Known:
        """What is known of a task.

        Raises:
            redis.RedisError: Redis did not answer.
            EnvelopeError: It was sealed with another SECRET_KEY.
        """
        kinds = ("withdrawn", "notified", "endpoint")
        withdrawn, ended, sealed = await self._redis.client().mget(
            [key(kind, task_id) for kind in kinds]
        )
        text = sealed.decode("utf-8", "replace") if isinstance(sealed, bytes) else sealed
        endpoint = self._sealer.open(text) if text else b""
        return Known(withdrawn is not None, ended is not None, endpoint.decode("latin-1"))


def key(kind: str, task_id: str) -> str:
    """The name of a task's key in Redis."""
    return f"{_PREFIX}{kind}:{task_id}"
