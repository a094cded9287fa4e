"""How far a request is that a worker replays: told to its owner while the endpoint runs."""

import json
import time
from typing import Annotated, Any, Final

from fastapi import Depends
from redis.client import Pipeline
from starlette.requests import HTTPConnection

from respond_async.later import LaterWrites
from respond_async.scope import PROGRESS, ReplayInfo, replay_info
from respond_async.settings import Settings
from ws_hub import PUBLISH_LUA, HistoryLimits, publication

__all__ = ["CurrentProgress", "Progress", "ProgressReports", "current_progress"]

# So that a loop may report each of its turns.
_PAUSE_SECONDS: Final = 0.2
_LONGEST_DETAIL: Final = 200
_SCRIPT: Final = PUBLISH_LUA + "return ws_hub_publish(1, 1)\n"


class ProgressReports:
    """Publishes for one app.

    Args:
        settings: How much history the hub keeps.
        later: Carries what is published.
    """

    def __init__(self, settings: Settings, later: LaterWrites) -> None:
        self._limits: Final = HistoryLimits(
            settings.hub_history_messages, settings.hub_history_seconds
        )
        self._later: Final = later

    def publish(self, info: ReplayInfo, done: float, detail: str) -> None:
        """Publishes to the owner's channel, soon."""
        data: dict[str, Any] = {
            "task_id": info.task_id,
            "status": "progress",
            "action": "async_request",
            "done": round(done, 4),
        }
        if detail:
            data["detail"] = detail
        message = {"type": "data", "data": json.dumps(data)}
        made = publication(info.channel, message, limits=self._limits)

        def write(pipe: Pipeline) -> None:
            pipe.eval(_SCRIPT, len(made.keys), *made.keys, *map(str, made.args))

        self._later.put(write)


class Progress:
    """Of one request; in one that is answered directly it does nothing.

    Args:
        info: What is replayed.
        reports: Publishes.
    """

    def __init__(self, info: ReplayInfo | None, reports: ProgressReports | None) -> None:
        self._info: Final = info
        self._reports: Final = reports
        self._next = 0.0

    def report(self, done: float, detail: str = "") -> None:
        """Tells the owner; never blocks, never raises, from any thread. Best effort.

        Called more often than five times a second it leaves out what comes between.

        Args:
            done: 0 to 1; what is outside is taken for the nearest.
            detail: For people; 200 characters at most, no secrets.
        """
        now = time.monotonic()
        if self._info is None or self._reports is None or now < self._next:
            return
        self._next = now + _PAUSE_SECONDS
        self._reports.publish(self._info, min(max(done, 0.0), 1.0), detail[:_LONGEST_DETAIL])


async def current_progress(connection: HTTPConnection) -> Progress:
    """A dependency: the request's own `Progress`."""
    reports = connection.scope.get(PROGRESS)
    return Progress(
        replay_info(connection.scope), reports if isinstance(reports, ProgressReports) else None
    )


#: `progress: CurrentProgress` in an endpoint.
CurrentProgress = Annotated[Progress, Depends(current_progress)]
