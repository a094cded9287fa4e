"""Telling the owner that the result can be read, at least once and not again.

Called only after the result is stored: Celery's tracer stores it before `task_success` and
`task_failure`, and the worker's main process before `task_revoked` and, for what it alone sees
(a lost process, a time limit), before `task_failure`.
"""

import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Final

import redis

from respond_async.accepted import WorkerRecords
from respond_async.claims import WorkerClaims
from respond_async.envelope import CapturedRequest
from respond_async.errors import EnvelopeError
from ws_hub import completed, publish

logger = logging.getLogger(__name__)

# The client retries by itself; together that is what a restart of Redis may take.
_ATTEMPTS: Final = 3
_PAUSE_SECONDS: Final = 2.0


class Completion:
    """Publishes to the owner's channel and clears up after a request."""

    def __init__(
        self, connection: redis.Redis, records: WorkerRecords, claims: WorkerClaims
    ) -> None:
        self._redis = connection
        self._records = records
        self._claims = claims
        self._lock = Lock()
        self._executor: ThreadPoolExecutor | None = None

    def notify(self, task_id: str, request: CapturedRequest | None = None) -> None:
        """Tells the owner, unless that was done; never raises, what fails is logged.

        Args:
            task_id: The task.
            request: What it replayed, where that is known.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                self._notify(task_id, request)
            except (redis.RedisError, OSError) as error:
                logger.warning("notification of %s failed (%d): %s", task_id, attempt, error)
                if attempt < _ATTEMPTS:
                    time.sleep(_PAUSE_SECONDS)
            except EnvelopeError as error:
                logger.error("nobody is told that %s ended: %s", task_id, error)  # noqa: TRY400 - no traceback
                return
            else:
                return
        logger.error("nobody was told that %s ended; its result can be asked for", task_id)

    def notify_soon(self, task_id: str, has_ended: Callable[[], bool] = lambda: True) -> None:
        """`notify` in a thread, for the worker's main loop, which must not wait for Redis.

        Args:
            task_id: The task.
            has_ended: Asked first, in that thread; nobody is told if it answers no.
        """
        with self._lock:
            if self._executor is None:
                self._executor = ThreadPoolExecutor(1, "respond_async.completion")
            self._executor.submit(self._notify_if, task_id, has_ended)

    def _notify_if(self, task_id: str, has_ended: Callable[[], bool]) -> None:
        try:
            ended = has_ended()
        except Exception as error:  # noqa: BLE001 - backends share no base of their errors
            logger.warning("whether %s ended is not known: %s", task_id, error)
            return
        if ended:
            self.notify(task_id)

    def _notify(self, task_id: str, request: CapturedRequest | None) -> None:
        channel = self._records.channel_to_notify(task_id, request)
        if channel is None:
            return
        # One round trip, in this order: a connection that is lost in between, and the next try,
        # tell twice rather than never.
        with self._redis.pipeline(transaction=False) as pipe:
            publish(pipe, channel, completed(task_id))
            self._records.mark_ended(pipe, task_id, request)
            self._claims.discard(pipe, task_id)
            pipe.execute()
