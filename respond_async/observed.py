"""Capturing as it is seen from outside: counted, traced, and named in the app's log lines."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from fastapi import Response
from starlette.routing import Router

from respond_async.capture import Capture
from respond_async.celery_face import CeleryFace
from respond_async.envelope import CapturedRequest
from respond_async.log_context import LOG_CONTEXT
from respond_async.metrics.routes import Routes
from respond_async.options import Chosen
from respond_async.problems import Problem
from respond_async.raw_request import RawRequest
from respond_async.scope import ROUTE, TRACE
from respond_async.sealing import Sealer

if TYPE_CHECKING:
    from respond_async.metrics.app import AppMetrics
    from respond_async.tracing.spans import Tracing

__all__ = ["ObservedCapture", "ObservedCelery"]


class ObservedCelery(CeleryFace):
    """Notes each request that the broker has taken."""

    #: None: nothing is counted.
    metrics: "AppMetrics | None" = None
    #: None: no spans.
    tracing: "Tracing | None" = None

    async def publish(
        self,
        request: CapturedRequest,
        body: bytes,
        sealer: Sealer,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """See `CeleryFace`."""
        if (context := LOG_CONTEXT.get()) is not None:
            context.captured(request)
        unrecorded = headers if self.tracing is None else self.tracing.unrecorded(request.trace)
        if self.tracing is None or unrecorded is not None:
            await super().publish(request, body, sealer, unrecorded)
        else:
            await self.loaded()
            queue = request.queue or self._settings.kafka_topic
            with self.tracing.sending(queue, request.task_id) as traced:
                await super().publish(request, body, sealer, traced)
        if self.metrics is not None:
            self.metrics.captured(request.route)


class ObservedCapture(Capture):
    """Labels each request with its endpoint, counts the refused ones, and makes a span of each."""

    def __init__(
        self,
        *args: Any,
        router: Router | None,
        metrics: "AppMetrics | None",
        tracing: "Tracing | None",
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._metrics: Final = metrics
        self._tracing: Final = tracing
        #: The label of a request's endpoint.
        self.label = Routes(router).label

    async def accept(self, raw: RawRequest, chosen: Chosen | None = None) -> Response:
        """See `Capture`."""
        raw.scope[ROUTE] = self.label(raw.scope)
        try:
            if self._tracing is None or self._tracing.leaves_out(raw.scope["headers"]):
                return await super().accept(raw, chosen)
            return await self._traced(self._tracing, raw, chosen)
        except Problem as problem:
            if self._metrics is not None:
                self._metrics.refused(problem.status_code)
            raise

    async def _traced(self, tracing: "Tracing", raw: RawRequest, chosen: Chosen | None) -> Response:
        with tracing.accepting(raw.scope, raw.scope[ROUTE]) as exchange:
            raw.scope[TRACE] = tracing.carrier()
            try:
                response = await super().accept(raw, chosen)
            except Problem as problem:
                exchange.answered(problem.status_code)
                refused = problem
            else:
                exchange.answered(response.status_code)
                return response
        raise refused
