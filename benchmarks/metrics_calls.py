"""What metrics_bench measures alone: what is called for one request because of metrics or traces."""

import statistics
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from celery import Celery
from fastapi import FastAPI

from benchmarks.replay_bench import CHANNEL, HEADERS, traced
from respond_async import Settings
from respond_async.envelope import CapturedRequest
from respond_async.metrics.app import AppMetrics
from respond_async.metrics.routes import Routes
from respond_async.metrics.worker import WorkerMetrics
from respond_async.scope import ROUTE, TRACE

Calls = tuple[Callable[[], None], Callable[[], None]]


def alone(times: int) -> Iterator[tuple[str, float, float]]:
    """CPU seconds of what is called for one request, in accepting and in replaying."""
    kinds = {
        "metrics": _metrics,
        "traces, left out": lambda *given: _traces(*given, sampled=1.0, ratio=0.0),
        "traces, not sampled": lambda *given: _traces(*given, sampled=0.0),
        "traces, sampled": lambda *given: _traces(*given, sampled=1.0),
    }
    app, celery = FastAPI(), Celery(set_as_current=False, broker="kafka://")
    for number in range(20):
        app.add_api_route(f"/before/{number}/{{name}}", lambda: None)
    app.add_api_route("/orders", lambda: None, methods=["POST"])
    for name, kind in kinds.items():
        accept, replay = kind(app, celery)
        yield (
            name,
            statistics.median(_cost(accept, times) for _ in range(5)),
            statistics.median(_cost(replay, times) for _ in range(5)),
        )


def _cost(call: Callable[[], None], times: int) -> float:
    before = time.process_time()
    for _ in range(times):
        call()
    return (time.process_time() - before) / times


def _metrics(app: FastAPI, celery: Celery) -> Calls:
    settings = Settings()
    accepting = AppMetrics(settings, lambda: celery)
    replaying = WorkerMetrics(settings, celery)
    routes, scope = Routes(app.router), _scope()
    label = routes.label(scope)
    request = CapturedRequest.of({**scope, ROUTE: label}, "i" * 64, datetime.now(UTC), CHANNEL)

    def accept() -> None:
        accepting.captured(routes.label(scope))

    def replay() -> None:
        replaying.began(request, 0.01, 1, traced=False)
        replaying.ran(request, 0.01, traced=False)
        replaying.answered(request, 200, 0.02, traced=False)

    return accept, replay


def _traces(app: FastAPI, celery: Celery, *, sampled: float, ratio: float = 1.0) -> Calls:
    """With what it costs to export the spans, which a thread of the process does."""
    from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter
    from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

    from respond_async.tracing.deliveries import trace_deliveries
    from respond_async.tracing.spans import Tracing

    class Encodes(SpanExporter):
        def export(self, spans: Any) -> Any:
            encode_spans(spans).SerializeToString()

    provider = TracerProvider(ParentBased(TraceIdRatioBased(sampled)))
    provider.add_span_processor(SimpleSpanProcessor(Encodes()))
    tracing = Tracing(lambda: celery, provider, ratio)
    trace_deliveries(celery, tracing)
    routes, scope = Routes(app.router), _scope()

    def accept() -> None:
        label = routes.label(scope)
        if tracing.leaves_out(scope["headers"]):
            tracing.unrecorded({})
            return
        with tracing.accepting(scope, label) as exchange:
            carrier = tracing.carrier()
            if tracing.unrecorded(carrier) is None:
                with tracing.sending("orders", "i" * 64):
                    pass
            exchange.answered(202)

    context = traced(sampled * ratio)
    # What is left out has its context in the message's headers alone.
    given = {**scope, ROUTE: "POST /orders", TRACE: context if ratio else {}}
    request = CapturedRequest.of(given, "i" * 64, datetime.now(UTC), CHANNEL)
    task = _task(celery, context)

    def replay() -> None:
        from celery import signals

        signals.task_prerun.send(task, task_id="i" * 64)
        if not tracing.has_nothing(request.trace):
            tracing.attempt(1)
            with tracing.replaying(request) as exchange:
                tracing.readdressed(request)
                exchange.answered(200)
            tracing.stored(time.time_ns())
            with tracing.notifying(request.trace):
                pass
        signals.task_postrun.send(task, state="SUCCESS")

    return accept, replay


def _task(celery: Celery, context: dict[str, str]) -> Any:
    request = SimpleNamespace(
        headers=context, delivery_info={"routing_key": "orders"}, retries=0, traced=None
    )
    return _Task(app=celery, name="respond_async.replay", request=request)


class _Task(SimpleNamespace):
    # As Celery's signals want their senders.
    __hash__ = object.__hash__


def _scope() -> dict[str, Any]:
    return {"type": "http", "method": "POST", "path": "/orders", "headers": HEADERS}
