"""Reading what is stored of a request that has ended."""

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import redis
from celery import states

from respond_async.accepted import AppRecords
from respond_async.answer import Answer
from respond_async.celery_face import BackendUnavailableError, CeleryFace
from respond_async.claims import Claims
from respond_async.errors import BodyLostError, EnvelopeError, StoreUnavailableError
from respond_async.large_rendering import Pieces
from respond_async.problems import Problem, unavailable
from respond_async.sealing import Sealer
from respond_async.settings import Settings
from respond_async.task_ids import IssuedId

logger = logging.getLogger(__name__)

UNKNOWN: Final = "There is no such request."
# A worker tries so long to tell the owner of a result, and by then has been restarted.
_TELLING: Final = timedelta(seconds=30)
_GONE: Final = "The result is no longer kept."


class StoredAnswers:
    """The answers of ended requests.

    Args:
        settings: TTL and key.
        celery: Whose result backend has them.
        records: What Redis knows beside them.
        answers: Where the bodies of large ones are.
    """

    def __init__(
        self, settings: Settings, celery: CeleryFace, records: AppRecords, answers: Claims
    ) -> None:
        self._settings: Final = settings
        self._celery: Final = celery
        self._records: Final = records
        self._answers: Final = answers
        self._sealer: Final = Sealer(settings, "answer")

    async def find(self, task_id: str, issued: IssuedId) -> Answer | None:
        """The answer of a request; None while it waits or runs.

        Raises:
            Problem: 404, it was never accepted; 410, its answer is no longer kept; 503, the
                storage does not answer; 500, what is stored cannot be read.
        """
        try:
            known = await self._records.find(task_id)
            meta = await self._celery.meta(task_id)
            if meta["status"] in states.READY_STATES:
                if meta["status"] != states.SUCCESS and not known.ended and _is_fresh(meta):
                    # Ended without an answer; what was asked is kept with that when the owner is
                    # told.
                    return None
                # In a thread: an answer may have 100 MB.
                return await asyncio.to_thread(self._opened, task_id, known.endpoint, meta)
        except BodyLostError:
            raise Problem(410, _GONE) from None
        except (
            redis.RedisError, OSError, BackendUnavailableError, StoreUnavailableError
        ) as error:  # fmt: skip
            raise self.unavailable(task_id, error) from None
        except EnvelopeError as error:
            logger.error("result of %s cannot be read: %s", task_id, error)  # noqa: TRY400 - no traceback
            raise Problem(
                500, "What is stored of this request cannot be read by the server."
            ) from None
        if known.withdrawn:
            raise Problem(404, UNKNOWN)
        if known.ended or self._is_old(issued):
            raise Problem(410, _GONE)
        return None

    def pieces(self, task_id: str, answer: Answer) -> Pieces:
        """Reads the body of an answer, each time it is called; blocks."""
        claim = answer.claim
        if claim is None:
            return lambda: iter((answer.body,))
        return lambda: self._answers.pieces_here(task_id, claim)

    async def discard(self, task_id: str, answer: Answer) -> None:
        """Removes the body of a large answer.

        Raises:
            StoreUnavailableError: The store did not answer.
        """
        if answer.claim is not None:
            await self._answers.discard(task_id)

    def unavailable(self, task_id: str, error: Exception) -> Problem:
        """503: the storage does not answer; which one and why is for the operator alone."""
        logger.warning("result of %s not read: %s", task_id, error)
        return unavailable(
            "The storage of results does not answer. Try again later.",
            self._settings.retry_after_seconds,
        )

    def _is_old(self, issued: IssuedId) -> bool:
        age = datetime.now(UTC) - issued.accepted_at
        return age > timedelta(seconds=self._settings.result_ttl_seconds)

    def _opened(self, task_id: str, asked: str, meta: dict[str, Any]) -> Answer:
        if meta["status"] == states.SUCCESS:
            answer = Answer.opened(meta["result"], task_id, self._sealer)
            if answer.claim is not None:
                self._answers.check(task_id, answer.claim)
            return answer
        answer = _lost(meta, asked)
        answer.endpoint = asked
        return answer


def _is_fresh(meta: dict[str, Any]) -> bool:
    """Whether the worker may still be about to tell the owner."""
    try:
        ended = datetime.fromisoformat(str(meta.get("date_done")))
    except ValueError:
        return False
    age = datetime.now(UTC) - (ended if ended.tzinfo else ended.replace(tzinfo=UTC))
    return age < _TELLING


def _lost(meta: dict[str, Any], asked: str) -> Answer:
    """What stands for an answer that the endpoint never gave; no traceback, no exception's text."""
    kind = type(meta.get("result")).__name__
    if meta["status"] == states.REVOKED:
        status, detail = 503, "The request was revoked before its endpoint had answered."
    elif kind in ("TimeLimitExceeded", "SoftTimeLimitExceeded"):
        status, detail = 504, "The endpoint did not answer within the worker's time limit."
    elif kind == "WorkerLostError":
        status, detail = 500, "The worker was lost while it ran the endpoint."
    else:
        status, detail = 500, "The worker could not run the request."
    return Answer.problem(status, detail, asked.partition("?")[0])
