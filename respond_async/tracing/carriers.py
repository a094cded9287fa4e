"""The trace context as it travels: W3C `traceparent`, `tracestate` and `baggage`.

`propagate` writes and reads it, so OTEL_PROPAGATORS holds. Ids are readable for whoever reads the
queue, and whoever writes to it could invent others, which changes what a trace shows and nothing
else. Baggage may hold anything, so it travels sealed.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Final

from opentelemetry import propagate
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import TextMapPropagator

__all__ = ["BAGGAGE", "carrier_of", "context_of", "given_context", "headers_of", "travelling"]

#: What travels sealed.
BAGGAGE: Final = "baggage"


def travelling() -> Mapping[bytes, str]:
    """The headers that have to do with traces, by their bytes."""
    return _named(propagate.get_global_textmap())


@cache
def _named(textmap: TextMapPropagator) -> Mapping[bytes, str]:
    return {name.encode(): name for name in textmap.fields}


def carrier_of(context: Context) -> dict[str, str]:
    """What is to travel, all of it."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier, context)
    return carrier


def headers_of(carrier: Mapping[str, str]) -> dict[str, str]:
    """What stands in a message's headers."""
    return {name: value for name, value in carrier.items() if name != BAGGAGE}


def context_of(carrier: Mapping[str, object] | None) -> Context:
    """The context that came with a message, or an empty one."""
    fields = travelling()
    if not carrier or carrier.keys().isdisjoint(fields.values()):
        return Context()
    texts = {name: value for name in fields.values() if isinstance(value := carrier.get(name), str)}
    return propagate.extract(texts, Context())


def given_context(headers: Iterable[tuple[bytes, bytes]]) -> Context:
    """The context that a client gave, or an empty one."""
    fields = travelling()
    found: dict[str, str] = {}
    for raw, value in headers:
        name = fields.get(raw)
        if name is not None:
            # Repeated: one list (RFC 9110 5.3). A second `traceparent` makes it no valid one.
            text = value.decode("latin-1")
            found[name] = f"{found[name]},{text}" if name in found else text
    return propagate.extract(found, Context()) if found else Context()
