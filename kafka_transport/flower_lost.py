"""What became of a killed worker's last tasks, told to Flower.

A worker that is killed takes the events along that it had not sent yet. A task that it had finished
is acked and never runs again, so nothing else would be heard of it, and Flower would show it as
received or started for ever. Its result is stored: events are made of that.
"""

import logging
import random
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from celery import states
from celery.backends.base import DisabledBackend
from flower.events import Events
from tornado.ioloop import PeriodicCallback

if TYPE_CHECKING:
    from celery import Celery

__all__ = ["LostTasks", "register"]

logger = logging.getLogger(__name__)

_EVERY_SECONDS: Final = 2.0
#: How long after its last heartbeat a killed worker's tasks are looked for: what it had not finished
#: runs on another one by then, or waits.
_LOOKED_FOR_SECONDS: Final = 120.0
#: Results asked for at a time.
_AT_A_TIME: Final = 500
_EVENTS: Final = {
    states.SUCCESS: "task-succeeded",
    states.FAILURE: "task-failed",
    states.REVOKED: "task-revoked",
}


class LostTasks:
    """Looks for tasks of killed workers that have a result and no end in Flower's memory.

    Of a task whose every event was lost Flower knows only where `task_send_sent_event` is set.

    Args:
        events: Flower's. Its state belongs to the thread of its loop.
    """

    def __init__(self, events: Any) -> None:
        self._events: Final = events
        self._app: Final[Celery] = events.capp

    async def look(self) -> None:
        """Tells Flower of those that have ended; one round."""
        unfinished = self._unfinished()
        if not unfinished or isinstance(self._app.backend, DisabledBackend):
            return
        try:
            found = await self._events.io_loop.run_in_executor(None, self._ended, list(unfinished))
        except Exception as error:  # noqa: BLE001 - backends raise their own clients' errors
            logger.warning("what a lost worker had finished is not known: %s", error)
            return
        for task_id, meta in found.items():
            self._tell(task_id, meta, unfinished[task_id])

    def _unfinished(self) -> dict[str, str]:
        """Task ids, and the worker that each is put down to."""
        state = self._events.state
        since = time.time() - _LOOKED_FOR_SECONDS
        lost = {
            worker.hostname: worker.heartbeats[-1]
            for worker in state.workers.values()
            if worker.heartbeats and not worker.alive and worker.heartbeats[-1] > since
        }
        if not lost:
            return {}
        last = max(lost, key=lost.__getitem__)
        found = {}
        for task in state.tasks.values():
            if task.state not in states.READY_STATES:
                name = task.worker.hostname if task.worker else last
                if name in lost:
                    found[task.uuid] = name
        # Many of them may only wait: by and by each is asked for.
        return dict(random.sample(list(found.items()), min(len(found), _AT_A_TIME)))

    def _ended(self, task_ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        backend: Any = self._app.backend
        metas = {each: backend.get_task_meta(each, cache=False) for each in task_ids}
        return {each: meta for each, meta in metas.items() if meta["status"] in _EVENTS}

    def _tell(self, task_id: str, meta: Mapping[str, Any], worker: str) -> None:
        task = self._events.state.tasks.get(task_id)
        if task is None or task.state in states.READY_STATES:
            return
        event = {
            "type": _EVENTS[meta["status"]],
            "uuid": task_id,
            "hostname": worker,
            "timestamp": _when(meta.get("date_done")),
            # Nothing was received: the worker must not seem to live.
            "local_received": None,
            "clock": task.clock,
        }
        if meta["status"] == states.FAILURE:
            event |= {"exception": repr(meta["result"]), "traceback": meta.get("traceback")}
        self._events.state.event(event)


def register() -> None:
    """Has each `flower.events.Events` look for them from its start on; a second time it does nothing."""
    stock: Any = Events.start
    if getattr(stock, "finds_lost_tasks", False):
        return

    def start(events: Any) -> None:
        stock(events)
        PeriodicCallback(LostTasks(events).look, _EVERY_SECONDS * 1000).start()

    start.finds_lost_tasks = True  # type: ignore[attr-defined]
    Events.start = start


def _when(done: object) -> float:
    if isinstance(done, str):
        done = datetime.fromisoformat(done)
    if not isinstance(done, datetime):
        return time.time()
    return (done if done.tzinfo else done.replace(tzinfo=UTC)).timestamp()
