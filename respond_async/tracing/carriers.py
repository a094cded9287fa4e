"""The trace context as it travels: W3C `traceparent`, `tracestate` and `baggage`.

`propagate` writes and reads it, so OTEL_PROPAGATORS holds. Ids are readable for whoever reads the
queue, and whoever writes to it could invent others, which changes what a trace shows and nothing
else. Baggage may hold anything, so it travels sealed.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from random import getrandbits
from typing import Final

from opentelemetry import propagate
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.trace import SpanContext

__all__ = [
    "BAGGAGE",
    "carrier_of",
    "context_of",
    "given_by",
    "headers_of",
    "is_left_out",
    "left_out",
    "new_left_out",
    "travelling",
]

#: What travels sealed.
BAGGAGE: Final = "baggage"
#: `version-trace_id-parent_id-flags` of a trace that is not sampled:
#: https://www.w3.org/TR/trace-context/#traceparent-header
_TRACEPARENT: Final = "traceparent"
_LENGTH: Final = 55
_BEGINS: Final = "00-"
#: How flags end whose lowest bit is not set; SDKs set others (W3C Trace Context 2: the id is random).
_NOT_SAMPLED: Final = ("0", "2", "4", "6", "8", "a", "c", "e")


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


def new_left_out() -> dict[str, str]:
    """What travels of a new trace that nobody samples."""
    ids = getrandbits(192).to_bytes(24).hex()
    return {_TRACEPARENT: f"{_BEGINS}{ids[:32]}-{ids[32:]}-00"}


def is_left_out(carrier: Mapping[str, str]) -> bool:
    """Whether what this process's `carrier_of` gave is of no sampled trace."""
    return carrier.get(_TRACEPARENT, "").endswith(_NOT_SAMPLED)


def left_out(carrier: Mapping[str, object] | None) -> SpanContext | None:
    """The parent that a carrier names, if it says of it that its trace is not sampled.

    Read here, since `propagate` takes several times as long, and most messages are of this kind; and
    whatever OTEL_PROPAGATORS is, this is how it is written.
    """
    given = (carrier or {}).get(_TRACEPARENT)
    if not isinstance(given, str) or len(given) != _LENGTH or not given.endswith(_NOT_SAMPLED):
        return None
    if not given.startswith(_BEGINS):
        return None
    try:
        found = SpanContext(int(given[3:35], 16), int(given[36:52], 16), is_remote=True)
    except ValueError:
        return None
    return found if found.is_valid else None


def given_by(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """What a client gave of its trace."""
    fields = travelling()
    found: dict[str, str] = {}
    for raw, value in headers:
        name = fields.get(raw)
        if name is not None:
            # Repeated: one list (RFC 9110 5.3). A second `traceparent` makes it no valid one.
            text = value.decode("latin-1")
            found[name] = f"{found[name]},{text}" if name in found else text
    return found
