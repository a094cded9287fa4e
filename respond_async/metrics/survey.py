"""How long the queues are: asked of the broker by a thread of the app, once in a while.

By the app, so that the numbers are there when no worker is: that is when they matter. Each replica
asks for itself; all say the same, so take `max by (queue)`.
"""

import logging
import time
from collections.abc import Callable, Iterable
from threading import Event, Thread
from typing import Any, Final

from celery import Celery

from respond_async.metrics.definitions import (
    QUEUE_CONSUMERS,
    QUEUE_DEAD,
    QUEUE_MESSAGES,
    QUEUE_OLDEST,
    SURVEY_FAILURES,
    SURVEYED,
)
from respond_async.settings import Settings
from ws_hub.metrics import counter, gauge

__all__ = ["QueueSurvey"]

logger = logging.getLogger(__name__)

_CONNECT_SECONDS: Final = 5.0
_NO_SURVEY: Final = (
    "the transport cannot tell how long its queues are (kafka:// can): their metrics are left out"
)


class QueueSurvey:
    """Keeps the gauges of the queues up to date.

    Args:
        settings: How often; METRICS_SURVEY_SECONDS 0: never.
        celery: Gives the Celery application.
    """

    def __init__(self, settings: Settings, celery: Callable[[], Celery]) -> None:
        self._settings: Final = settings
        self._celery: Final = celery
        self._messages: Final = gauge(QUEUE_MESSAGES)
        self._oldest: Final = gauge(QUEUE_OLDEST)
        self._dead: Final = gauge(QUEUE_DEAD)
        self._consumers: Final = gauge(QUEUE_CONSUMERS)
        self._surveyed: Final = gauge(SURVEYED)
        self._failures: Final = counter(SURVEY_FAILURES)
        self._ended = Event()
        self._failing = False

    def start(self) -> None:
        """Starts the thread."""
        if self._settings.metrics_survey_seconds:
            self._ended = Event()
            Thread(
                target=self._run, args=(self._ended,), name="respond_async.survey", daemon=True
            ).start()

    def stop(self) -> None:
        """Ends it, soon."""
        self._ended.set()

    def _run(self, ended: Event) -> None:
        while not ended.is_set():
            try:
                if not self._survey_with(ended):
                    logger.info(_NO_SURVEY)
                    return
            except Exception as error:  # noqa: BLE001 - brokers share no base of their errors
                self._failures.inc()
                if not self._failing:
                    logger.warning("the metrics of queues are not up to date: %s", error)
                self._failing = True
            ended.wait(self._settings.metrics_survey_seconds)

    def _survey_with(self, ended: Event) -> bool:
        """Asks until it fails, over one connection; False: the transport cannot tell."""
        app = self._celery()
        with app.connection_for_read(connect_timeout=_CONNECT_SECONDS) as connection:
            connection.ensure_connection(max_retries=1)
            transport: Any = connection.transport
            if not hasattr(transport, "survey"):
                return False
            named = {*app.amqp.queues, self._settings.kafka_topic}
            while not ended.is_set():
                self._set(transport.survey(named))
                self._failing = False
                ended.wait(self._settings.metrics_survey_seconds)
        return True

    def _set(self, found: Iterable[Any]) -> None:
        for queue in found:
            for state in ("waiting", "delayed", "running"):
                self._messages.labels(queue.queue, state).set(getattr(queue, state))
            self._oldest.labels(queue.queue).set(queue.oldest_seconds or 0.0)
            self._dead.labels(queue.queue).set(queue.dead)
            self._consumers.labels(queue.queue).set(len(queue.consumers))
        self._surveyed.set(time.time())
