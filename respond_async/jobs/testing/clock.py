"""A clock that stands still until a test moves it: of Redis' scripts, of loops, of what is to be sent.

Redis' clock is the only one that jobs know, so this one is in Redis: the scripts are replaced by such
as read it from a key. Each script takes one microsecond, so that what follows each other has an order.
"""

import asyncio
import threading
from asyncio import futures
from collections.abc import Callable
from contextvars import Context
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest

from respond_async.jobs import schedule_scripts, scripts
from respond_async.jobs.prelude import CLOCK_LUA, PREFIX
from respond_async.jobs.reporting import REPORT, Report
from respond_async.moments import microseconds_of, moment_of
from ws_hub import Script

if TYPE_CHECKING:
    import redis

_KEY: Final = f"{PREFIX}test_clock"
_LUA: Final = f"local us = redis.call('incr', '{_KEY}')"
_RESOLUTION_SECONDS: Final = 5e-7


class Clock:
    """What the jobs of a test take for the time.

    Args:
        connection: The Redis of the test.
        patch: Undoes at the end of the test what is replaced.
    """

    def __init__(self, connection: "redis.Redis", patch: pytest.MonkeyPatch) -> None:
        self._redis: Final = connection
        #: Called after each step: has done what is due by then.
        self.settle: Callable[[], None] = lambda: None
        #: Gives the microseconds at which something is due.
        self.due: Callable[[], list[int]] = list
        self._microseconds = microseconds_of(datetime.now(UTC))
        self._redis.set(_KEY, self._microseconds)
        for script in (*vars(scripts).values(), *vars(schedule_scripts).values()):
            if isinstance(script, Script):
                made = Script(script.text.replace(CLOCK_LUA.strip(), _LUA))
                patch.setattr(script, "text", made.text)
                patch.setattr(script, "sha", made.sha)

    @property
    def now(self) -> datetime:
        """What time it is."""
        return moment_of(self.microseconds())

    def microseconds(self) -> int:
        """The same, as loops and scripts count it."""
        return self._microseconds

    def advance(self, seconds: float | timedelta) -> None:
        """Lets time pass; what falls due meanwhile is done at its time, one after the other.

        Args:
            seconds: How long.
        """
        if isinstance(seconds, timedelta):
            seconds = seconds.total_seconds()
        self._move(self._microseconds + round(seconds * 1_000_000))

    def move_to(self, moment: datetime) -> None:
        """The same, up to a moment that has a time zone.

        Raises:
            ValueError: It is in the past.
        """
        if moment < self.now:
            raise ValueError(f"it is {self.now} already: time goes forwards only")
        self._move(microseconds_of(moment))

    def _move(self, until: int) -> None:
        while True:
            later = [each for each in self.due() if self._microseconds < each <= until]
            # Redis has counted its scripts meanwhile.
            counted: Any = self._redis.get(_KEY)
            self._microseconds = max(self._microseconds, min(later, default=until), int(counted))
            self._redis.set(_KEY, self._microseconds)
            self.settle()
            if not later:
                return


class ClockLoop(asyncio.SelectorEventLoop):
    """An event loop on which only `clock` lets time pass; it knows which jobs wait for that."""

    def __init__(self, clock: Clock) -> None:
        self._test_clock: Final = clock
        self._timers: Final[list[tuple[asyncio.TimerHandle, Report | None]]] = []
        self._timers_lock: Final = threading.Lock()
        super().__init__()
        # What is due now is done now: a float of today is exact to a quarter of a microsecond.
        self._clock_resolution = _RESOLUTION_SECONDS

    def time(self) -> float:
        """Seconds since 1970."""
        return self._test_clock.microseconds() / 1_000_000

    def call_at(  # type: ignore[override]  # typeshed knows the arguments better than asyncio's own
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """As any loop's; remembers what `asyncio.sleep` waits for."""
        handle = super().call_at(when, callback, *args, context=context)
        # A limit of time (`asyncio.timeout`, `asyncio.wait`) is no sleep.
        sleeps = callback is getattr(futures, "_set_result_unless_cancelled", None)
        with self._timers_lock:
            self._timers.append((handle, REPORT.get() if sleeps else None))
        return handle

    def due(self) -> list[int]:
        """The microseconds at which something is due."""
        # Not before it: a float may stand for a little more.
        return [int(handle.when() * 1_000_000) + 1 for handle, _ in self._waiting()]

    def sleeps(self, report: Report) -> bool:
        """Whether the job that reports there waits for time to pass."""
        return any(each is report for _, each in self._waiting())

    def _waiting(self) -> list[tuple[asyncio.TimerHandle, Report | None]]:
        now = self.time() + _RESOLUTION_SECONDS
        with self._timers_lock:
            self._timers[:] = [
                each for each in self._timers if not each[0].cancelled() and each[0].when() > now
            ]
            return list(self._timers)
