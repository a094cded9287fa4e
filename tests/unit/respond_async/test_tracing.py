"""Traces where there is no broker: off, on in front of any app, and what a span may show."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from opentelemetry import baggage, trace
from opentelemetry.context import attach, detach
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased
from opentelemetry.trace import SpanKind

from respond_async import Settings
from respond_async.jobs.record import Spec
from respond_async.sealing import Sealer
from respond_async.tracing import tracing_of
from respond_async.tracing.queries import HideQueries
from respond_async.tracing.spans import Tracing

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def no_traces_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("respond_async.tracing.current._ask", None)


class Traced:
    def __init__(self, sampler: Any = ALWAYS_ON, ratio: float = 1.0) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(ParentBased(sampler))
        self.provider.add_span_processor(HideQueries())
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        celery = Celery(broker="kafka://somewhere", set_as_current=False)
        self.tracing = Tracing(lambda: celery, self.provider, ratio)

    @property
    def spans(self) -> dict[str, ReadableSpan]:
        return {span.name: span for span in self._exporter.get_finished_spans()}


def scope(*headers: tuple[bytes, bytes]) -> dict[str, Any]:
    return {
        "type": "http", "method": "PUT", "path": "/items/7", "query_string": b"token=secret",
        "headers": [(b"authorization", b"Bearer secret"), *headers],
    }  # fmt: skip


def test_without_traces_what_makes_spans_is_not_even_imported() -> None:
    code = (
        "import sys, respond_async.async_requests, respond_async.worker, respond_async.jobs.worker;"
        "assert not {'respond_async.tracing.' + m for m in ('spans', 'carriers', 'deliveries')}"
        " & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.parametrize(
    ("environment", "traces", "on"),
    [
        ({}, "auto", False),
        ({}, "on", True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, "auto", True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318"}, "auto", True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, "off", False),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_SDK_DISABLED": "true"},
            "auto",
            False,
        ),
    ],
)
def test_they_are_on_where_spans_have_somewhere_to_go(
    environment: dict[str, str], traces: Any, on: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = tracing_of(Settings(traces=traces), lambda: Celery(set_as_current=False))
    assert (found is not None) is on


def test_a_request_without_a_servers_span_has_one_of_ours_below_its_clients() -> None:
    traced = Traced()
    given = scope(
        (b"traceparent", f"00-{TRACE}-{PARENT}-01".encode()), (b"baggage", b"tenant=acme")
    )
    with traced.tracing.accepting(given, "PUT /items/{item_id}") as exchange:
        carrier = traced.tracing.carrier()
        with traced.tracing.sending("items", "an-id") as headers:
            assert "baggage" not in headers
        exchange.answered(202)
    server, send = traced.spans["PUT /items/{item_id}"], traced.spans["send items"]
    assert (server.kind, send.kind) == (SpanKind.SERVER, SpanKind.PRODUCER)
    assert server.parent is not None
    assert f"{server.parent.span_id:016x}" == PARENT
    assert send.parent is not None
    assert send.parent.span_id == server.context.span_id
    assert headers["traceparent"] == f"00-{TRACE}-{send.context.span_id:016x}-01"
    assert carrier["baggage"] == "tenant=acme"
    assert "secret" not in f"{server.attributes}{send.attributes}"
    with traced.tracing.carrying(carrier):
        assert baggage.get_all() == {"tenant": "acme"}
    assert not baggage.get_all()


def test_a_refusal_is_no_failure_of_the_server() -> None:
    traced = Traced()
    with traced.tracing.accepting(scope(), "other") as exchange:
        exchange.answered(429)
    span = traced.spans["PUT"]
    assert span.status.is_unset
    assert "http.route" not in (span.attributes or {})


def test_of_a_trace_that_is_not_sampled_only_the_ids_go_on() -> None:
    traced = Traced(ALWAYS_OFF)
    with traced.tracing.accepting(scope(), "other"):
        carrier = traced.tracing.carrier()
        with traced.tracing.sending("items", "an-id") as headers:
            assert headers == carrier
    assert not int(headers["traceparent"][-2:], 16) & 1
    assert not traced.spans


def test_what_is_left_out_is_left_out_in_the_worker_too() -> None:
    traced = Traced(ratio=0.0)
    assert traced.tracing.leaves_out(scope()["headers"])
    headers = traced.tracing.unrecorded({})
    stays_left_out(traced, headers)


def test_what_is_not_sampled_is_not_in_the_worker_either() -> None:
    traced = Traced(ALWAYS_OFF)
    assert not traced.tracing.leaves_out(scope()["headers"])
    with traced.tracing.accepting(scope(), "other"):
        carrier = traced.tracing.carrier()
        headers = traced.tracing.unrecorded(carrier)
    assert headers == carrier
    stays_left_out(traced, headers)


def stays_left_out(traced: Traced, headers: dict[str, str] | None) -> None:
    assert headers is not None
    worker = Traced()
    span = worker.tracing.unsampled(headers)
    assert span is not None
    context = span.get_span_context()
    ids = f"{context.trace_id:032x}-{context.span_id:016x}"
    assert headers["traceparent"].startswith(f"00-{ids}-")
    in_span = trace.set_span_in_context(span)
    token = attach(in_span)
    assert worker.tracing.has_nothing({})
    detach(token)
    # Nor does what the endpoint's own instrumentation makes of it begin a trace.
    inner = worker.provider.get_tracer("other").start_span("inner", in_span)
    assert not inner.get_span_context().trace_flags.sampled
    span.end()
    inner.end()
    assert not traced.spans
    assert not worker.spans


def test_a_ratio_is_for_what_has_no_trace_yet() -> None:
    traced = Traced(ratio=0.0)
    given = scope((b"traceparent", f"00-{TRACE}-{PARENT}-01".encode()))
    assert not traced.tracing.leaves_out(given["headers"])
    with traced.tracing.accepting(given, "other"):
        assert not traced.tracing.leaves_out([])
        carrier = traced.tracing.carrier()
        assert traced.tracing.unrecorded(carrier) is None
        # What does not propagate travels with nothing, and has its spans here.
        assert traced.tracing.unrecorded({}) is None
    assert carrier["traceparent"].startswith(f"00-{TRACE}-")
    assert list(traced.spans) == ["PUT"]
    assert traced.tracing.unsampled(carrier) is None
    span = traced.tracing.process("items", carrier)
    with trace.use_span(span, end_on_exit=True):
        assert not traced.tracing.has_nothing({})
    assert "process items" in traced.spans
    with traced.tracing.sending("items", "a-job") as headers:
        assert headers["traceparent"].endswith("-00")
    assert traced.tracing.unsampled(None) is not None
    assert Traced().tracing.unsampled(None) is None
    assert len(traced.spans) == 2


def test_baggage_is_carried_where_nothing_is_recorded() -> None:
    assert not Traced().tracing.has_nothing({"baggage": "tenant=acme"})


@pytest.mark.parametrize(
    "given",
    [
        f"00-{'0' * 32}-{PARENT}-00",
        f"00-{'x' * 32}-{PARENT}-00",
        "00-1-00",
        f"01-{TRACE}-{PARENT}-00",
    ],
)
def test_what_is_no_traceparent_begins_a_trace(given: str) -> None:
    traced = Traced()
    assert traced.tracing.unsampled({"traceparent": given}) is None
    span = traced.tracing.process("items", {"traceparent": given})
    # A later version may have more: https://www.w3.org/TR/trace-context/#versioning-of-traceparent
    assert span.is_recording() is not given.startswith("01")


def test_nobodys_query_is_shown() -> None:
    traced = Traced()
    shown = {"url.query": "channel=secret", "http.url": "http://a/b?channel=secret"}
    traced.provider.get_tracer("other").start_span("any", attributes=shown).end()
    attributes = traced.spans["any"].attributes or {}
    assert dict(attributes) == {"url.query": "[hidden]", "http.url": "http://a/b?[hidden]"}


def test_a_job_without_a_trace_is_kept_as_older_workers_read_it() -> None:
    sealer = Sealer(Settings(), "job")
    for trace_ in ({}, {"traceparent": f"00-{TRACE}-{PARENT}-01"}):
        spec = Spec(arguments={"a": 1}, trace=trace_)
        sealed = spec.sealed(sealer, "an-id")
        assert Spec.opened(sealer, sealed, "an-id") == spec
        assert (b"traceparent" in sealer.open(sealed, "an-id")) is bool(trace_)


def test_no_span_is_current_afterwards() -> None:
    assert not trace.get_current_span().get_span_context().is_valid
