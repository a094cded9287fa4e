"""Telling the owner that the result can be read, at least once and not again.

Called only after the result is stored: Celery's tracer stores it before `task_success` and
`task_failure`, and the worker's main process before `task_revoked` and, for what it alone sees
(a lost process, a time limit), before `task_failure`.
"""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import TYPE_CHECKING, Final

import redis

from respond_async.claims import Claims
from respond_async.envelope import CapturedRequest
from respond_async.errors import EnvelopeError, StoreUnavailableError
from respond_async.pool import in_thread, pause
from respond_async.runs import Runs

if TYPE_CHECKING:
    from respond_async.tracing.spans import Tracing

logger = logging.getLogger(__name__)

# The client retries by itself; together that is what a restart of Redis may take.
_ATTEMPTS: Final = 3
_PAUSE_SECONDS: Final = 2.0


class Completion:
    """Publishes to the owner's channel and clears up after a request.

    Args:
        runs: What Redis knows of runs.
        claims: The bodies of requests.
        left: Called once the owner was told; perhaps again for the same request.
        tracing: None: no spans.
    """

    def __init__(
        self,
        runs: Runs,
        claims: Claims,
        left: Callable[[CapturedRequest], None],
        tracing: "Tracing | None" = None,
    ) -> None:
        self._runs = runs
        self._claims = claims
        self._left = left
        self._tracing = tracing
        self._lock = Lock()
        self._executor: ThreadPoolExecutor | None = None

    def notify(self, request: CapturedRequest, *, answered: bool, traced: bool = True) -> bool:
        """Tells the owner, unless that was done; never raises, what fails is logged.

        Returns:
            Whether this was the first to tell, or nobody could be told.

        Args:
            request: What was replayed.
            answered: Whether the result is an answer.
            traced: Whether there may be a trace that it belongs to.
        """
        if self._tracing is None or not traced:
            return self._notified(request, answered=answered)
        with self._tracing.notifying(request.trace):
            return self._notified(request, answered=answered)

    def _notified(self, request: CapturedRequest, *, answered: bool) -> bool:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                told = self._runs.end(request, answered=answered)
                if request.claim is not None and not self._claims.in_redis:
                    in_thread(self._claims.discard_here, request.task_id)
            except (redis.RedisError, OSError, StoreUnavailableError) as error:
                logger.warning(
                    "notification of %s failed (%d): %s", request.task_id, attempt, error
                )
                if attempt < _ATTEMPTS:
                    pause(_PAUSE_SECONDS)
            else:
                self._left(request)
                return told
        logger.error("nobody was told that %s ended; its result can be asked for", request.task_id)
        return True

    def notify_soon(
        self,
        task_id: str,
        ended: Callable[[], tuple[CapturedRequest, bool] | None],
        told: Callable[[CapturedRequest], None],
    ) -> None:
        """`notify` in a thread, for the worker's main loop, which must not wait for Redis.

        Args:
            task_id: The task.
            ended: Asked first, in that thread: what was replayed and whether it was answered;
                nobody is told if it gives None.
            told: Called if `notify` says so.
        """
        with self._lock:
            if self._executor is None:
                self._executor = ThreadPoolExecutor(1, "respond_async.completion")
            self._executor.submit(self._notify_if, task_id, ended, told)

    def _notify_if(
        self,
        task_id: str,
        ended: Callable[[], tuple[CapturedRequest, bool] | None],
        told: Callable[[CapturedRequest], None],
    ) -> None:
        try:
            found = ended()
        except EnvelopeError as error:
            logger.error("nobody is told that %s ended: %s", task_id, error)  # noqa: TRY400 - no traceback
        except Exception as error:  # noqa: BLE001 - backends share no base of their errors
            logger.warning("whether %s ended is not known: %s", task_id, error)
        else:
            if found is not None and self.notify(found[0], answered=found[1]):
                told(found[0])
