"""The trace context as it travels: W3C `traceparent`, `tracestate` and `baggage`.

`propagate` writes and reads it, so OTEL_PROPAGATORS holds. Ids are readable for whoever reads the
queue, and whoever writes to it could invent others, which changes what a trace shows and nothing
else. Baggage may hold anything, so it travels sealed.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from opentelemetry import propagate
from opentelemetry.context import Context

__all__ = ["carrier_of", "context_of", "given_context", "headers_of"]

_SEALED: Final = "baggage"


def carrier_of(context: Context) -> dict[str, str]:
    """What is to travel, all of it."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier, context)
    return carrier


def headers_of(carrier: Mapping[str, str]) -> dict[str, str]:
    """What stands in a message's headers."""
    return {name: value for name, value in carrier.items() if name != _SEALED}


def context_of(carrier: Mapping[str, object] | None) -> Context:
    """The context that came with a message, or an empty one."""
    fields = propagate.get_global_textmap().fields
    if not carrier or fields.isdisjoint(carrier):
        return Context()
    texts = {name: value for name in fields if isinstance(value := carrier.get(name), str)}
    return propagate.extract(texts, Context())


def given_context(headers: Iterable[tuple[bytes, bytes]]) -> Context:
    """The context that a client gave, or an empty one."""
    fields = propagate.get_global_textmap().fields
    found: dict[str, str] = {}
    for raw, value in headers:
        name = raw.decode("latin-1")
        if name in fields:
            # Repeated: one list (RFC 9110 5.3). A second `traceparent` makes it no valid one.
            text = value.decode("latin-1")
            found[name] = f"{found[name]},{text}" if name in found else text
    return propagate.extract(found, Context()) if found else Context()
