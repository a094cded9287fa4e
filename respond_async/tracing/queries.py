"""Keeps query strings out of spans that others make; needs OpenTelemetry's SDK."""

from typing import Final

from opentelemetry.context import Context
from opentelemetry.sdk.trace import Span, SpanProcessor

__all__ = ["HideQueries"]

_HIDDEN: Final = "[hidden]"


class HideQueries(SpanProcessor):
    """A span processor for whoever sets up a tracer provider; hides what stands behind a `?`.

    FastAPI's own spans, and those of instrumentations, have the query of a request. The name of an
    anonymous channel or a token may be in it, and both are keys to somebody's answers.
    """

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:  # noqa: ARG002
        """See `SpanProcessor`."""
        attributes = span.attributes
        if not attributes:
            return
        if "url.query" in attributes:
            span.set_attribute("url.query", _HIDDEN)
        # As older semantic conventions call it.
        for name in ("url.full", "http.url", "http.target"):
            text = attributes.get(name)
            if isinstance(text, str) and "?" in text:
                span.set_attribute(name, f"{text.partition('?')[0]}?{_HIDDEN}")
