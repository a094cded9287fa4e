"""The end of a request: counted once and logged as one line, by whoever told its owner first.

A request is delivered again where a worker was lost, and may end by its owner's hand. One script
in Redis says who told the owner (`runs`), so what is counted agrees with what owners heard.
"""

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from respond_async.envelope import CapturedRequest
from ws_hub import user_of_channel

if TYPE_CHECKING:
    from respond_async.metrics.worker import WorkerMetrics

__all__ = ["ENDED_LOGGER", "END_FIELDS", "Attempt", "Ends", "log_end"]

#: Writes one line for each end.
ENDED_LOGGER: Final = "respond_async.ended"
#: What a record of it has beside its text (`logging`'s `extra`).
END_FIELDS: Final = (
    "outcome", "status", "attempts", "duration_seconds", "run_seconds", "task_id", "request_id",
    "user", "queue",
)  # fmt: skip

logger = logging.getLogger(ENDED_LOGGER)


@dataclass(slots=True)
class Attempt:
    """One run of a request in this process."""

    #: Which delivery it is of, retries and those of lost workers included.
    number: int
    #: Monotonic.
    began: float
    #: Whether spans of it may be recorded.
    traced: bool = False
    #: How long the endpoint took; None: it gave no answer.
    ran_seconds: float | None = None


class Ends:
    """Of the requests that a worker replays.

    Args:
        queue: The queue of requests that name none.
        metrics: None: nothing is counted.
    """

    def __init__(self, queue: str, metrics: "WorkerMetrics | None") -> None:
        self._queue: Final = queue
        self.metrics: Final = metrics

    def began(self, running: Any, request: CapturedRequest, delivery: int, retries: int) -> None:
        """An attempt begins.

        Args:
            running: Celery's `task.request`; keeps the attempt.
            request: What is replayed.
            delivery: The number of this one.
            retries: How many of those before it asked to be tried again.
        """
        traced = running.tracing is not None
        running.attempt = Attempt(delivery, time.monotonic(), traced)
        if self.metrics is not None:
            self.metrics.began(request, _age(request), delivery - retries, traced=traced)

    def ran(self, running: Any, request: CapturedRequest) -> None:
        """The endpoint has answered."""
        attempt: Attempt = running.attempt
        attempt.ran_seconds = time.monotonic() - attempt.began
        if self.metrics is not None:
            self.metrics.ran(request, attempt.ran_seconds, traced=attempt.traced)

    def retried(self, request: CapturedRequest) -> None:
        """The attempt is put back."""
        if self.metrics is not None:
            self.metrics.retried(request)

    def answered(self, running: Any, request: CapturedRequest, status: int) -> None:
        """The owner was told that the answer is there.

        Args:
            running: As for `began`.
            request: What was replayed.
            status: Of the answer; 0: it was stored by an earlier delivery.
        """
        seconds, attempt = _age(request), _attempt(running)
        if self.metrics is not None:
            self.metrics.answered(request, status, seconds, traced=_is_traced(attempt))
        self._log(request, "answered", seconds, attempt, status=status)

    def failed(
        self,
        running: Any,
        request: CapturedRequest,
        reason: str,
        error: BaseException | None = None,
    ) -> None:
        """The owner was told that there is no answer.

        Args:
            running: As for `began`; None: it ran elsewhere.
            request: What was replayed.
            reason: `error`, `lost`, `timeout` or `revoked`.
            error: What nobody expected; the line has its traceback.
        """
        seconds, attempt = _age(request), _attempt(running)
        if self.metrics is not None:
            self.metrics.failed(request, reason, seconds, traced=_is_traced(attempt))
        self._log(request, reason, seconds, attempt, error=error)

    def _log(
        self,
        request: CapturedRequest,
        outcome: str,
        seconds: float,
        attempt: Attempt | None,
        *,
        status: int = 0,
        error: BaseException | None = None,
    ) -> None:
        if not logger.isEnabledFor(logging.INFO):
            return
        more: dict[str, Any] = {"queue": request.queue or self._queue}
        if status:
            more["status"] = status
        if attempt is not None:
            more["attempts"] = attempt.number
            if attempt.ran_seconds is not None:
                more["run_seconds"] = round(attempt.ran_seconds, 6)
        if request.request_id:
            more["request_id"] = request.request_id
        log_end(
            str(request),
            request.task_id,
            request.channel,
            outcome=outcome,
            seconds=seconds,
            error=error,
            **more,
        )


def log_end(
    shown: str,
    task_id: str,
    channel: str,
    *,
    outcome: str,
    seconds: float,
    error: BaseException | None = None,
    **more: Any,
) -> None:
    """Writes the one line of an end.

    Args:
        shown: Method and path.
        task_id: The request.
        channel: The internal name of its owner's channel; a user's `sub` is logged, no other name.
        outcome: `answered`, `cancelled`, `error`, `lost`, `timeout`, `revoked`.
        seconds: Since its acceptance.
        error: Its traceback follows the line.
        more: Of `END_FIELDS`, what is known.
    """
    fields = {"outcome": outcome, "task_id": task_id, "duration_seconds": round(seconds, 6), **more}
    if user := user_of_channel(channel):
        fields["user"] = user
    result = f"{outcome} {more['status']}" if "status" in more else outcome
    level = logging.ERROR if outcome in _FAILURES else logging.INFO
    logger.log(
        level, "%s ended: %s in %.3f s", shown, result, seconds, extra=fields, exc_info=error
    )


_FAILURES: Final = frozenset({"error", "lost", "timeout"})


def _attempt(running: Any) -> Attempt | None:
    """None: it ran elsewhere, or did not begin."""
    return getattr(running, "attempt", None)


def _is_traced(attempt: Attempt | None) -> bool:
    return attempt is not None and attempt.traced


def _age(request: CapturedRequest) -> float:
    # The only time that app and worker share is the wall clock's.
    return max(0.0, time.time() - request.accepted_at.timestamp())
