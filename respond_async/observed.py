"""Capturing as it is seen from outside: counted, and named in the app's log lines."""

from typing import TYPE_CHECKING, Any, Final

from fastapi import Response

from respond_async.capture import Capture
from respond_async.celery_face import CeleryFace
from respond_async.envelope import CapturedRequest
from respond_async.log_context import LOG_CONTEXT
from respond_async.options import Chosen
from respond_async.problems import Problem
from respond_async.raw_request import RawRequest
from respond_async.scope import ROUTE
from respond_async.sealing import Sealer

if TYPE_CHECKING:
    from respond_async.metrics.app import AppMetrics

__all__ = ["MeasuredCapture", "ObservedCelery"]


class ObservedCelery(CeleryFace):
    """Notes each request that the broker has taken."""

    #: None: nothing is counted.
    metrics: "AppMetrics | None" = None

    async def publish(self, request: CapturedRequest, body: bytes, sealer: Sealer) -> None:
        """See `CeleryFace`."""
        if (context := LOG_CONTEXT.get()) is not None:
            context.captured(request)
        await super().publish(request, body, sealer)
        if self.metrics is not None:
            self.metrics.captured(request.route)


class MeasuredCapture(Capture):
    """Labels each request with its endpoint and counts the refused ones."""

    def __init__(self, *args: Any, metrics: "AppMetrics", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._metrics: Final = metrics
        #: The label of a request's endpoint.
        self.label = metrics.label

    async def accept(self, raw: RawRequest, chosen: Chosen | None = None) -> Response:
        """See `Capture`."""
        raw.scope[ROUTE] = self.label(raw.scope)
        try:
            return await super().accept(raw, chosen)
        except Problem as problem:
            self._metrics.refused(problem.status_code)
            raise
