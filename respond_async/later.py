"""Writes to Redis that nobody waits for: what is only counted or listed.

A thread sends what has gathered, some twenty times a second, as one pipeline. A process that is
killed loses what it had gathered; so does one whose Redis stays away.
"""

import logging
import os
from collections import deque
from collections.abc import Callable
from threading import Event, Lock, Thread
from typing import Final

import redis
from redis.client import Pipeline

logger = logging.getLogger(__name__)

_PAUSE_SECONDS: Final = 0.05
_MOST_WAITING: Final = 100_000
_COMMANDS_PER_PIPELINE: Final = 1000

Write = Callable[[Pipeline], object]


class LaterWrites:
    """The writes of one process; the thread starts with the first, and anew after a fork.

    Args:
        connection: Redis; used by the thread alone.
    """

    def __init__(self, connection: redis.Redis) -> None:
        self._redis = connection
        self._lock = Lock()
        self._waiting: deque[Write] = deque(maxlen=_MOST_WAITING)
        self._any = Event()
        self._ended = Event()
        self._thread: Thread | None = None
        self._pid = 0
        self._failing = False

    def put(self, write: Write) -> None:
        """Has `write` add its commands to a pipeline soon; never blocks, never raises."""
        if self._pid != os.getpid():
            self._start()
        self._waiting.append(write)
        if not self._any.is_set():
            self._any.set()

    def close(self, timeout_seconds: float = 5.0) -> None:
        """Sends what has gathered and ends the thread; a later `put` starts another."""
        with self._lock:
            thread, self._thread = self._thread, None
            if thread is None or self._pid != os.getpid():
                return
            self._pid = 0
            self._ended.set()
            self._any.set()
        thread.join(timeout_seconds)

    def _start(self) -> None:
        with self._lock:
            if self._pid == os.getpid():
                return
            if self._pid:
                # Forked: what had gathered is the parent's to send.
                self._waiting.clear()
            self._any, self._ended = Event(), Event()
            self._thread = Thread(
                target=self._run,
                args=(self._any, self._ended),
                name="respond_async.later",
                daemon=True,
            )
            self._thread.start()
            self._pid = os.getpid()

    def _run(self, something: Event, ended: Event) -> None:
        while not (ended.is_set() and not self._waiting):
            something.wait()
            ended.wait(_PAUSE_SECONDS)
            something.clear()
            while self._waiting:
                try:
                    self._send()
                except (redis.RedisError, OSError) as error:
                    if not self._failing:
                        logger.warning("lists and counts are not up to date: %s", error)
                    self._failing = True
                    break
                else:
                    self._failing = False
            if ended.is_set():
                return

    def _send(self) -> None:
        with self._redis.pipeline(transaction=False) as pipe:
            for _ in range(min(len(self._waiting), _COMMANDS_PER_PIPELINE)):
                self._waiting.popleft()(pipe)
            pipe.execute()
