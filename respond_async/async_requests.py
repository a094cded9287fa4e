"""What a user's two modules call."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from functools import partial
from typing import TYPE_CHECKING, Any

from celery import Celery
from fastapi import Depends, FastAPI
from starlette.routing import Router

from respond_async.accepted import AppRecords
from respond_async.admission import Admission
from respond_async.cancelling import CANCELLED_STATUS, Cancelling
from respond_async.capture import Capture, documented
from respond_async.capture_point import CapturePoint
from respond_async.claims import Claims
from respond_async.connections import AppRedis, app_blocking_redis, worker_redis
from respond_async.ends import log_end
from respond_async.errors import ConfigurationError
from respond_async.identity import Identities
from respond_async.later import LaterWrites
from respond_async.metrics.routes import Routes
from respond_async.observed import ObservedCapture, ObservedCelery
from respond_async.openapi import ACCEPTED_RESPONSE
from respond_async.options import OptionPatterns
from respond_async.overload import Backlogs
from respond_async.owned import OwnedReads, OwnedWrites
from respond_async.ownership import Ownership
from respond_async.problems import Problem, answer_problem
from respond_async.progress import ProgressReports
from respond_async.raw_request import RawRequestMiddleware
from respond_async.results import Results
from respond_async.scope import PROGRESS
from respond_async.sealing import Sealer, warn_of_missing_key
from respond_async.settings import Settings
from respond_async.stored import StoredAnswers
from respond_async.task_ids import TaskIds
from respond_async.tracing import tracing_of
from respond_async.waiting import Waits
from respond_async.worker import Worker

if TYPE_CHECKING:
    from respond_async.metrics.app import AppMetrics


class AsyncRequests:
    """Lets any endpoint of a FastAPI app be asked asynchronously, with `X-Async-Request: true`.

        app = FastAPI()
        AsyncRequests(app, celery="shop.worker:celery")

    It adds the result endpoint, the outermost middleware, what captures in front of the router,
    and a dependency of the whole app that documents the header on routes that come after it.

    Args:
        app: The app.
        celery: The Celery application whose workers replay requests, or where it is
            ("module:attribute"); that is imported at first use.
        settings: Default: from the environment.

    Raises:
        ConfigurationError: The app has `AsyncRequests` already.
        ws_hub.HubConfigurationError: JWT_PUBLIC_KEY is not a key for JWT_ALGORITHM.
    """

    def __init__(
        self, app: FastAPI, *, celery: Celery | str, settings: Settings | None = None
    ) -> None:
        if self.is_on(app):
            raise ConfigurationError("this app has AsyncRequests already")
        self.settings = settings or Settings()
        if not Sealer(self.settings, "request").encrypts:
            warn_of_missing_key()
        self._redis = AppRedis(self.settings)
        self._celery = ObservedCelery(celery, self.settings)
        self._waits = Waits(self.settings.redis_url)
        self._backlogs = Backlogs(self.settings, self._celery.celery)
        self._later = LaterWrites(worker_redis(self.settings))
        identities = Identities(self.settings, self._redis)
        records = AppRecords(self.settings, self._redis)
        self._claims = Claims(self.settings, "body", lambda: app_blocking_redis(self.settings))
        self._answers = Claims(self.settings, "answer", lambda: app_blocking_redis(self.settings))
        ids = TaskIds(self.settings)
        app.add_exception_handler(Problem, answer_problem)
        stored = StoredAnswers(self.settings, self._celery, records, self._answers)
        owned = OwnedReads(self.settings, self._redis)
        others = list(app.router.routes)
        Results(
            self.settings,
            Ownership(identities, ids),
            stored,
            waits=self._waits,
            cancelling=Cancelling(
                self.settings,
                self._celery,
                self._redis,
                owned=owned,
                stored=stored,
                cancelled=self._note_cancelled,
            ),
            owned=owned,
        ).install(app)
        self._ids = ids
        self._metrics = self._celery.metrics = self._made_metrics(app)
        own = [route for route in app.router.routes if route not in others]
        tracing = self._celery.tracing = tracing_of(self.settings, self._celery.celery)
        capturing: Any = Capture
        if self._metrics is not None or tracing is not None:
            capturing = partial(
                ObservedCapture, router=app.router, metrics=self._metrics, tracing=tracing
            )
        #: Accepts; for whoever captures elsewhere than in front of the app's router.
        self.capture: Capture = capturing(
            self.settings,
            identities,
            self._celery,
            records,
            self._claims,
            ids=ids,
            admission=Admission(self.settings, self._redis, self._backlogs),
            owned=OwnedWrites(self.settings, self._later),
            stored=stored,
            waits=self._waits,
        )
        #: The settings' options of endpoints.
        self.patterns = OptionPatterns(self.settings.endpoint_options)
        # Of what comes after it.
        app.router.responses = {**ACCEPTED_RESPONSE, **app.router.responses}
        app.router.dependencies.append(Depends(documented))
        app.router.middleware_stack = CapturePoint(
            app.router.middleware_stack, app.router, self.capture, own, self.patterns
        )
        self._wrap(app, identities)
        self._close_with(app)

    def label_endpoints_of(self, router: Router | None) -> None:
        """Takes the labels of endpoints from another app's router; None: it has none."""
        if isinstance(self.capture, ObservedCapture):
            self.capture.label = Routes(router).label

    @staticmethod
    def is_on(app: object) -> bool:
        """Whether an app has `AsyncRequests`."""
        return isinstance(app, FastAPI) and Problem in app.exception_handlers

    @staticmethod
    def worker(celery: Celery, *, app: str, settings: Settings | None = None) -> None:
        """Makes the workers of a Celery application replay captured requests.

            celery = Celery("shop", broker="kafka://localhost:9092", backend="redis://localhost")
            AsyncRequests.worker(celery, app="shop.main:app")

        They consume KAFKA_TOPIC beside their other queues; with `-Q` it must be named there.

        Args:
            celery: The application; it needs a result backend.
            app: The ASGI app, as "module:attribute"; imported by the process that replays.
            settings: Default: from the environment.
        """
        Worker(celery, app, settings or Settings()).install()

    def _made_metrics(self, app: FastAPI) -> "AppMetrics | None":
        if not self.settings.metrics_on:
            return None
        from respond_async.metrics.app import AppMetrics

        metrics = AppMetrics(self.settings, self._celery.celery)
        if (route := metrics.exposition.route()) is not None:
            app.router.routes.append(route)
        return metrics

    def _note_cancelled(self, task_id: str, channel: str, path: str) -> None:
        if self._metrics is not None:
            self._metrics.cancelled()
        seconds = max(0.0, time.time() - self._ids.read(task_id).accepted_at.timestamp())
        log_end(
            path or "a request",
            task_id,
            channel,
            outcome="cancelled",
            seconds=seconds,
            status=CANCELLED_STATUS,
        )

    def _wrap(self, app: FastAPI, identities: Identities) -> None:
        # `add_middleware` would put it inside of whatever is added later.
        build = app.build_middleware_stack
        limit = self.settings.max_request_bytes
        timeout = self.settings.request_body_timeout_seconds
        shared = {PROGRESS: ProgressReports(self.settings, self._later)}

        def build_with_ours() -> Any:
            return RawRequestMiddleware(build(), identities, limit, timeout, shared=shared)

        app.build_middleware_stack = build_with_ours  # type: ignore[method-assign]

    def _close_with(self, app: FastAPI) -> None:
        inner = app.router.lifespan_context

        @contextlib.asynccontextmanager
        async def lifespan(scoped: Any) -> AsyncIterator[Any]:
            async with inner(scoped) as state:
                if self._metrics is not None:
                    self._metrics.start()
                try:
                    yield state
                finally:
                    if self._metrics is not None:
                        self._metrics.stop()
                    self._backlogs.close()
                    await asyncio.to_thread(self._later.close)
                    await self._waits.close()
                    self._celery.close()
                    self._claims.close()
                    self._answers.close()
                    await self._redis.close()

        app.router.lifespan_context = lifespan
