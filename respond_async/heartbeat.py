"""A worker's signs of life: for probes on its host a file, for the app's readiness a key in Redis.

A thread gives them, as long as the worker's parts that can hang answer: its main loop, which a
timer of the loop itself shows, and the asyncio pool's event loop, which the pool watches. A broker
that is away makes no worker sick: while it connects, the main loop is not expected to turn. Nor is
it at a shutdown, when it waits for what still runs.
"""

import json
import logging
import os
import time
from pathlib import Path
from threading import Thread
from typing import Any, Final

import redis
import redis.asyncio
from celery import Celery, bootsteps

from respond_async.connections import app_blocking_redis
from respond_async.settings import Settings

__all__ = ["install_heartbeat", "seconds_since_worker"]

logger = logging.getLogger(__name__)

_BEAT_SECONDS: Final = 2.0
#: Beats between two signs in Redis.
_SEEN_EVERY: Final = 5
_SEEN: Final = "respond_async:worker_seen:"
#: For so long it is known when a worker was seen last.
_KNOWN_SECONDS: Final = 86_400


class Heartbeat:
    """Of one worker.

    Args:
        settings: The file, the queue and Redis.
        worker: Celery's `WorkController`.
    """

    def __init__(self, settings: Settings, worker: Any) -> None:
        self._settings: Final = settings
        self._worker: Final = worker
        self._turned = time.monotonic()
        self._stopping = False
        self._seen_failing = False

    def start(self) -> None:
        """Begins; from the main thread, before the worker consumes."""
        self._worker.timer.call_repeatedly(_BEAT_SECONDS / 2, self._turn)
        Thread(target=self._run, name="respond_async.heartbeat", daemon=True).start()

    def stop(self) -> None:
        """The worker shuts down: it lives until its process ends, and takes nothing new."""
        self._stopping = True

    def _turn(self) -> None:
        self._turned = time.monotonic()

    def _run(self) -> None:
        client = app_blocking_redis(self._settings)
        beats = 0
        while True:
            state = self._state()
            self._write(state)
            silent = max(state["main_loop"], state["pool_loop"])
            consumes = self._is_connected() and not self._stopping
            if (
                consumes
                and silent < self._settings.worker_stale_seconds
                and beats % _SEEN_EVERY == 0
            ):
                self._be_seen(client)
            beats += 1
            time.sleep(_BEAT_SECONDS)

    def _state(self) -> dict[str, float]:
        """What the probe reads: when this was, and for how long each part has been silent."""
        now = time.monotonic()
        if self._stopping or not self._is_connected():
            self._turned = now
        watch = getattr(self._worker.pool, "loop_watch", None)
        return {
            "at": now,
            "main_loop": round(now - self._turned, 3),
            "pool_loop": round(watch.lag, 3) if watch is not None and not self._stopping else 0.0,
        }

    def _is_connected(self) -> bool:
        # None until the consumer has a connection, and again while it looks for another.
        consumer = getattr(self._worker, "consumer", None)
        return getattr(consumer, "connection", None) is not None

    def _write(self, state: dict[str, float]) -> None:
        name = self._settings.worker_heartbeat_file
        if not name:
            return
        # Whole or not at all: a probe may read at any time.
        part = Path(f"{name}.{os.getpid()}")
        try:
            part.write_text(json.dumps({**state, "pid": os.getpid()}))
            part.replace(name)
        except OSError as error:
            logger.warning("WORKER_HEARTBEAT_FILE %s cannot be written: %s", name, error)

    def _be_seen(self, client: redis.Redis) -> None:
        try:
            client.set(_SEEN + self._settings.kafka_topic, b"1", ex=_KNOWN_SECONDS)
            self._seen_failing = False
        except (redis.RedisError, OSError) as error:
            if not self._seen_failing:
                logger.warning("the app does not see this worker: %s", error)
            self._seen_failing = True


def install_heartbeat(celery: Celery, settings: Settings) -> None:
    """Gives the workers of a Celery application a heartbeat."""

    class Step(bootsteps.StartStopStep):
        # Started after the pool and before what consumes; stopped the other way round.
        requires = ("celery.worker.components:Pool",)

        def __init__(self, parent: Any, **_: Any) -> None:
            super().__init__(parent)
            self._heartbeat = Heartbeat(settings, parent)

        def start(self, parent: Any) -> None:  # noqa: ARG002 - Celery's signature
            self._heartbeat.start()

        def stop(self, parent: Any) -> None:  # noqa: ARG002
            self._heartbeat.stop()

        def terminate(self, parent: Any) -> None:  # noqa: ARG002
            self._heartbeat.stop()

    steps: Any = celery.steps
    steps["worker"].add(Step)


async def seconds_since_worker(client: redis.asyncio.Redis, settings: Settings) -> float | None:
    """How long ago a worker of the queue gave a sign of life; None: none in a day.

    By the clock of Redis alone: nobody's own need be right.

    Raises:
        redis.RedisError: Redis does not answer.
    """
    left = await client.pttl(_SEEN + settings.kafka_topic)
    return None if left < 0 else max(0.0, _KNOWN_SECONDS - left / 1000)
