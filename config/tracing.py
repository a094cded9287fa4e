"""Where the service's spans go: over OTLP (HTTP), as the OTEL_* environment variables say.

OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_TRACES_SAMPLER, OTEL_SERVICE_NAME and all others are those of
OpenTelemetry's SDK. A tracer provider that is there already (`opentelemetry-instrument`) stays.
"""

import os
from functools import cache
from typing import Any

from celery import signals

from config import settings
from respond_async import ConfigurationError

__all__ = ["configure_tracing"]

_FLUSH_MILLISECONDS = 2000


@cache
def configure_tracing() -> None:
    """Sends the spans of this process, if TRACES or the environment says so. Done once.

    Raises:
        ConfigurationError: They are to be sent, and OpenTelemetry is not installed.
    """
    if not settings.traces_on:
        return
    try:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        from respond_async.tracing.queries import HideQueries
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"traces are on and {error.name} is not installed: pip install 'respond-async[traces]',"
            " or set TRACES=off"
        ) from None
    if not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        return
    named = "OTEL_SERVICE_NAME" in os.environ or "service.name=" in os.environ.get(
        "OTEL_RESOURCE_ATTRIBUTES", ""
    )
    provider = TracerProvider(
        resource=Resource.create(None if named else {"service.name": "respond-async"})
    )
    provider.add_span_processor(HideQueries())
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)

    def flush(**_: Any) -> None:
        # The pool's processes end without the interpreter's `atexit`.
        provider.force_flush(_FLUSH_MILLISECONDS)

    signals.worker_process_shutdown.connect(flush, weak=False)
