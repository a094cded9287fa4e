"""The owner's way to end a request, or to have its result removed.

To cancel is to store a result. Celery keeps the first one that is a success, so whichever comes
first stands: the endpoint's answer, or that it was cancelled. A worker that takes the request
afterwards finds a result and does not run it.
"""

import logging
from collections.abc import Callable
from typing import Any, Final, Literal

import redis
from celery import Celery, states

from respond_async.accepted import FORGOTTEN, key
from respond_async.answer import Answer
from respond_async.celery_face import BackendUnavailableError, CeleryFace
from respond_async.connections import AppRedis
from respond_async.errors import StoreUnavailableError
from respond_async.owned import OwnedReads
from respond_async.runs import end_command
from respond_async.sealing import Sealer
from respond_async.settings import Settings
from respond_async.stored import StoredAnswers

logger = logging.getLogger(__name__)

#: Nginx' own for a client that did not wait. IANA has none, and clients take it as any 4xx.
CANCELLED_STATUS: Final = 499
_CANCELLED: Final = "The request was cancelled by its owner."


class Cancelling:
    """Cancels and forgets.

    Args:
        settings: TTL and key.
        celery: The result backend, and the way to the workers.
        connection: The app's Redis.
        owned: The owners' lists.
        stored: For what is said if the storage is away.
        cancelled: Called once for each request that ended so, with its id, channel and path.
    """

    def __init__(
        self,
        settings: Settings,
        celery: CeleryFace,
        connection: AppRedis,
        *,
        owned: OwnedReads,
        stored: StoredAnswers,
        cancelled: Callable[[str, str, str], None],
    ) -> None:
        self._settings: Final = settings
        self._celery: Final = celery
        self._redis: Final = connection
        self._owned: Final = owned
        self._stored: Final = stored
        self._cancelled: Final = cancelled
        self._sealer: Final = Sealer(settings, "answer")

    async def cancel(self, task_id: str, channel: str) -> Literal["pending", "running"]:
        """Ends a request that has no result; its owner is told once.

        Args:
            task_id: The request.
            channel: The internal name of its owner's channel.

        Returns:
            What it was.

        Raises:
            Problem: 503, the storage does not answer.
        """
        client: Any = self._redis.client()
        try:
            endpoint = await self._owned.endpoint(channel, task_id)
            answer = Answer.problem(CANCELLED_STATUS, _CANCELLED, endpoint.partition("?")[0])
            text = answer.sealed(task_id, endpoint, self._sealer).text
            # First the result, then the question who runs it: a worker takes the lease before it
            # looks for a result, so one of the two sees the other.
            await self._celery.call(lambda app: _store(app, task_id, text))
            running = bool(await client.exists(key("running", task_id)))
            told = await client.eval(*end_command(task_id, channel, self._settings))
        except (redis.RedisError, OSError, BackendUnavailableError) as error:
            raise self._stored.unavailable(task_id, error) from None
        if told:
            self._cancelled(task_id, channel, endpoint.partition("?")[0])
        if not running:
            return "pending"
        try:
            await self._celery.call(lambda app: _terminate(app, task_id))
        except (BackendUnavailableError, OSError) as error:
            # Its result stands; that the endpoint goes on is for the operator to know.
            logger.warning("the workers were not told to cancel %s: %s", task_id, error)
        return "running"

    async def forget(self, task_id: str, channel: str, answer: Answer) -> None:
        """Removes the result of a request that has ended.

        Raises:
            Problem: 503, the storage does not answer.
        """
        try:
            await self._stored.discard(task_id, answer)
            await self._celery.call(lambda app: app.backend.forget(task_id))
            # What says that it has ended stays: it is gone, not unknown.
            await self._redis.client().set(
                key("notified", task_id), FORGOTTEN, ex=self._settings.result_ttl_seconds
            )
            await self._redis.client().unlink(key("endpoint", task_id))
            await self._owned.forget(channel, task_id)
        except (
            redis.RedisError, OSError, BackendUnavailableError, StoreUnavailableError
        ) as error:  # fmt: skip
            raise self._stored.unavailable(task_id, error) from None


def _store(app: Celery, task_id: str, text: str) -> None:
    app.backend.store_result(task_id, text, states.SUCCESS)


def _terminate(app: Celery, task_id: str) -> None:
    app.control.revoke(task_id, terminate=True)
