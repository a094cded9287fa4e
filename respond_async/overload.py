"""Overload: no more is accepted while a queue holds more than it may.

A thread asks the broker every second how much waits, so a request finds the number ready. Several
servers see the same backlog, and each may accept what comes within that second.
"""

import logging
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event, Lock, Thread
from typing import Any, Final

import redis
from celery import Celery
from redis.client import Pipeline

from respond_async.connections import worker_redis
from respond_async.later import LaterWrites
from respond_async.problems import unavailable
from respond_async.settings import Settings

logger = logging.getLogger(__name__)

_PERIOD_SECONDS: Final = 1.0
# The share of the newest measurement in the rate.
_NEWEST: Final = 0.3
_LONGEST_RETRY_SECONDS: Final = 300
_KEY: Final = "respond_async:ended:"
_COUNTER_SECONDS: Final = 3600


@dataclass(frozen=True, slots=True)
class _Measured:
    waiting: int
    #: Requests that end in a second, over all workers; 0: not known.
    rate: float = 0.0
    #: What the counter of ended requests showed, and when (monotonic).
    ended: int = 0
    at: float = 0.0


class Backlogs:
    """What waits in the queues.

    Args:
        settings: The limits, by queue.
        celery: Gives the Celery application, whose broker is asked.
    """

    def __init__(self, settings: Settings, celery: Callable[[], Celery]) -> None:
        self._settings: Final = settings
        self._celery: Final = celery
        self._lock: Final = Lock()
        self._queues: set[str] = set()
        self._measured: dict[str, _Measured] = {}
        self._ended = Event()
        self._pid = 0
        self._failing = False

    def check(self, queue: str) -> None:
        """Returns if the queue may take another request; at once, the number is there.

        Where it is not known (the broker does not answer, or has not yet) it may.

        Raises:
            Problem: 503, as many requests as BACKLOG_LIMITS allows wait.
        """
        limits = self._settings.backlog_limits
        limit = limits.get(queue, limits.get("*", 0))
        if not limit:
            return
        measured = self._of(queue)
        if measured is None or measured.waiting < limit:
            return
        seconds = self._settings.retry_after_seconds
        if measured.rate > 0:
            seconds = math.ceil((measured.waiting - limit + 1) / measured.rate)
        raise unavailable(
            "Too many requests wait already. Try again later.",
            min(max(seconds, self._settings.retry_after_seconds), _LONGEST_RETRY_SECONDS),
        )

    def place(self, queue: str) -> dict[str, str]:
        """The headers that tell a request its place; none unless QUEUE_PLACE_HEADERS is set."""
        if not self._settings.queue_place_headers:
            return {}
        measured = self._of(queue)
        if measured is None:
            return {}
        headers = {"X-Queue-Depth": str(measured.waiting)}
        if measured.rate > 0:
            headers["X-Queue-Wait-Estimate"] = str(math.ceil(measured.waiting / measured.rate))
        return headers

    def close(self) -> None:
        """Ends the thread; the next question starts another."""
        with self._lock:
            self._ended.set()
            self._pid = 0

    def _of(self, queue: str) -> _Measured | None:
        if self._pid != os.getpid() or queue not in self._queues:
            self._start(queue)
        return self._measured.get(queue)

    def _start(self, queue: str) -> None:
        with self._lock:
            self._queues = {*self._queues, queue}
            if self._pid == os.getpid():
                return
            self._measured = {}
            self._ended = Event()
            self._pid = os.getpid()
            Thread(
                target=self._run, args=(self._ended,), name="respond_async.backlogs", daemon=True
            ).start()

    def _run(self, ended: Event) -> None:
        client = worker_redis(self._settings)
        try:
            while not ended.is_set():
                try:
                    self._measure_with(client, ended)
                except Exception as error:  # noqa: BLE001 - brokers share no base of their errors
                    self._measured = {}
                    if not self._failing:
                        logger.warning("the backlog of the queues is not known: %s", error)
                    self._failing = True
                ended.wait(_PERIOD_SECONDS)
        finally:
            client.close()

    def _measure_with(self, client: redis.Redis, ended: Event) -> None:
        """Measures until it fails, over one connection."""
        with self._celery().connection_for_read(connect_timeout=_PERIOD_SECONDS * 5) as connection:
            connection.ensure_connection(max_retries=1)
            channel = connection.default_channel
            while not ended.is_set():
                for queue in self._queues:
                    waiting = _waiting(connection, channel, queue)
                    count = int(client.get(_KEY + queue) or 0)
                    before = self._measured.get(queue)
                    self._measured[queue] = _next(before, waiting, count)
                if self._failing:
                    logger.info("the backlog of the queues is known again")
                self._failing = False
                ended.wait(_PERIOD_SECONDS)


class EndedCounts:
    """The worker's side: counts what has ended, so that the app knows the rate."""

    def __init__(self, settings: Settings, later: LaterWrites) -> None:
        self._on: Final = settings.queue_place_headers or bool(settings.backlog_limits)
        self._later: Final = later

    def ended(self, queue: str) -> None:
        """One more request of the queue has ended."""
        if self._on:
            self._later.put(lambda pipe: _count(pipe, queue))


def _count(pipe: Pipeline, queue: str) -> None:
    pipe.incr(_KEY + queue)
    pipe.expire(_KEY + queue, _COUNTER_SECONDS)


def _waiting(connection: Any, channel: Any, queue: str) -> int:
    try:
        return int(channel.queue_declare(queue=queue, passive=True).message_count)
    except connection.channel_errors:
        # Nothing was published to it yet.
        return 0


def _next(before: _Measured | None, waiting: int, ended: int) -> _Measured:
    now = time.monotonic()
    if before is None or ended < before.ended:
        return _Measured(waiting, 0.0, ended, now)
    newest = (ended - before.ended) / max(now - before.at, 1e-3)
    # A queue that stands still for want of requests says nothing of how fast it can be.
    if not newest and not waiting:
        return _Measured(waiting, before.rate, ended, now)
    rate = newest if not before.rate else _NEWEST * newest + (1 - _NEWEST) * before.rate
    return _Measured(waiting, rate, ended, now)
