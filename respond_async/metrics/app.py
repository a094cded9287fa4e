"""What the app counts: requests that it takes, refuses, and that are cancelled."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from celery import Celery

from respond_async.metrics.definitions import CANCELLED, CAPTURED, REFUSED
from respond_async.metrics.kafka import KafkaReadings
from respond_async.metrics.role import is_worker
from respond_async.metrics.routes import OTHER
from respond_async.metrics.survey import QueueSurvey
from respond_async.settings import Settings
from ws_hub.exposition import Exposition
from ws_hub.metrics import counter, hub_metrics

if TYPE_CHECKING:
    from prometheus_client import Counter

__all__ = ["AppMetrics"]


class AppMetrics:
    """The metrics of one app; only made where they are on.

    Args:
        settings: Who may read them.
        celery: Gives the Celery application, whose broker is asked for its queues.
    """

    def __init__(self, settings: Settings, celery: Callable[[], Celery]) -> None:
        #: `/metrics`.
        self.exposition: Final = Exposition(settings)
        self._survey: Final = QueueSurvey(settings, celery)
        self._captured: Final = counter(CAPTURED)
        self._refused: Final = counter(REFUSED)
        self._cancelled: Final = counter(CANCELLED)
        # A label is looked up once; `labels()` takes a lock and builds a key.
        self._bound: Final[dict[str, Counter]] = {}
        self.exposition.read_with(hub_metrics())
        self.exposition.read_with(KafkaReadings(celery).read)

    def captured(self, endpoint: str) -> None:
        """The broker has a request."""
        bound = self._bound.get(endpoint)
        if bound is None:
            bound = self._bound[endpoint] = self._captured.labels(endpoint or OTHER)
        bound.inc()

    def refused(self, status: int) -> None:
        """A request with the header was not accepted."""
        self._refused.labels(str(status)).inc()

    def cancelled(self) -> None:
        """An owner has cancelled a request."""
        self._cancelled.inc()

    def start(self) -> None:
        """Opens the port and begins to ask the broker; when the app is served."""
        if not is_worker():
            self.exposition.start()
            self._survey.start()

    def stop(self) -> None:
        """Ends what `start` began."""
        if not is_worker():
            self._survey.stop()
            self.exposition.stop()
