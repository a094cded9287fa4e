"""The span of each delivery of a Celery task, from its beginning until its owner was told."""

from contextvars import Token
from typing import Any, Final, NamedTuple

from celery import Celery, signals
from celery.exceptions import Reject
from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import Span, set_span_in_context

from respond_async.tracing.spans import Tracing, failed

__all__ = ["trace_deliveries"]

_FAILED: Final = {"FAILURE": "", "REJECTED": Reject.__name__, "RETRY": "Retry"}


class _Delivery(NamedTuple):
    span: Span
    token: Token[Context]


class _Deliveries:
    """Celery's signals around a task, all of which come where the task runs.

    A worker that is killed sends nothing of a span that it has begun; the next delivery's says by
    its number that there was one.
    """

    def __init__(self, celery: Celery, tracing: Tracing) -> None:
        self._celery: Final = celery
        self._tracing: Final = tracing

    def begin(self, sender: Any, task_id: str, **_: Any) -> None:
        if sender.app is not self._celery:
            return
        request = sender.request
        span = self._tracing.unsampled(request.headers) or self._span(sender, request, task_id)
        request.traced = _Delivery(span, attach(set_span_in_context(span, Context())))

    def _span(self, sender: Any, request: Any, task_id: str) -> Span:
        where = request.delivery_info or {}
        # Celery's default exchange: the routing key is the queue's name.
        queue = str(where.get("routing_key") or sender.app.conf.task_default_queue)
        described: dict[str, Any] = {
            "messaging.message.id": task_id,
            "celery.task_name": sender.name,
        }
        if request.retries:
            described["celery.retries"] = request.retries
        if where.get("redelivered"):
            described["respond_async.redelivered"] = True
        return self._tracing.process(queue, request.headers, **described)

    def fail(self, sender: Any, exception: BaseException | None = None, **_: Any) -> None:
        delivery = getattr(sender.request, "traced", None)
        if delivery is not None:
            failed(delivery.span, type(exception).__qualname__)

    def end(self, sender: Any, state: str | None = None, **_: Any) -> None:
        request = sender.request
        delivery: _Delivery | None = getattr(request, "traced", None)
        if delivery is None:
            return
        request.traced = None
        span = delivery.span
        if span.is_recording():
            if state:
                span.set_attribute("celery.state", state)
            if kind := _FAILED.get(state or ""):
                failed(span, kind)
        detach(delivery.token)
        span.end()


def trace_deliveries(celery: Celery, tracing: Tracing) -> None:
    """Makes a span for each task that this application's workers run; once for an application."""
    deliveries = _Deliveries(celery, tracing)
    for signal, receiver in (
        (signals.task_prerun, deliveries.begin),
        (signals.task_failure, deliveries.fail),
        (signals.task_postrun, deliveries.end),
    ):
        # Celery keeps receivers by weak reference otherwise; a second one of that id is not taken.
        uid = f"respond_async.tracing.{id(celery)}.{receiver.__name__}"
        signal.connect(receiver, weak=False, dispatch_uid=uid)
