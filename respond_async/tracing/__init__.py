"""Traces (OpenTelemetry): spans of accepting, sending, processing and telling, in one trace.

Off unless TRACES or the environment says otherwise, and only then is opentelemetry imported; who
would make spans has a `Tracing` or None.
"""

from typing import TYPE_CHECKING

from respond_async.errors import ConfigurationError
from respond_async.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery import Celery

    from respond_async.tracing.spans import Tracing

__all__ = ["tracing_of"]


def tracing_of(settings: Settings, celery: "Callable[[], Celery]") -> "Tracing | None":
    """What makes the spans of an app or a worker; None: nothing does.

    Args:
        settings: TRACES.
        celery: Gives the Celery application, asked with the first message.

    Raises:
        ConfigurationError: TRACES is `on` and OpenTelemetry is not installed.
    """
    if not settings.traces_on:
        return None
    try:
        from respond_async.tracing.spans import Tracing
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"traces are on (TRACES, or an OTLP endpoint in the environment) and {error.name} is"
            " not installed: pip install 'respond-async[traces]', or set TRACES=off"
        ) from None
    return Tracing(celery, ratio=settings.traces_ratio)
