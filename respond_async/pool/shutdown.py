"""What Celery's own shutdown leaves to a pool whose callbacks its event loop makes."""

import logging
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from celery.worker import state
from celery.worker.request import Request
from kombu import Message

from respond_async.pool.job import Job

if TYPE_CHECKING:
    from celery.concurrency.base import BasePool

__all__ = ["give_back", "run_acks"]

logger = logging.getLogger(__name__)


def give_back(pool: "BasePool", jobs: Collection[Job]) -> None:
    """Cancels the requests of running jobs, as Celery's cold shutdown does.

    What is not acked yet is the broker's again once the connection closes. A task that was acked
    as it began cannot be given back: its result says RETRY, as Celery has it.
    """
    ids = {job.task_id for job in jobs}
    for request in tuple(state.active_requests):
        if request.id in ids and isinstance(request, Request):
            try:
                request.cancel(pool, emit_retry=not request.task.acks_late)
            except Exception:
                logger.exception("%s could not be given back", request)


def run_acks(hub: Any) -> None:
    """Sends the acks that wait for the worker's event loop, which does not run any more.

    Also keeps its timers going, for heartbeats. Anything else is put back: a reader of the
    transport would hand messages to a pool that is closing. Celery's prefork pool does the same.
    """
    if hub is None:
        return
    hub.fire_timers()
    if not hasattr(hub, "_pop_ready"):
        return
    ready = hub._pop_ready()  # noqa: SLF001
    while ready:
        callback = ready.pop()
        if not _is_ack(callback):
            hub.call_soon(callback)
            continue
        try:
            callback()
        except Exception:
            logger.exception("an ack could not be sent; the task runs again")


def _is_ack(callback: Any) -> bool:
    function = getattr(callback, "fun", None)
    return isinstance(getattr(function, "__self__", None), Message) and getattr(
        function, "__name__", None
    ) in {"ack_log_error", "reject_log_error"}
