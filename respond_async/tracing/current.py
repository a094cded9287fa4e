"""The trace that this context works for, for log lines and exemplars; needs no OpenTelemetry."""

from collections.abc import Callable

__all__ = ["ask_with", "trace_id"]

_ask: Callable[[bool], str] | None = None


def ask_with(ask: Callable[[bool], str]) -> None:
    """From now on `ask` says which trace is current; called by what makes spans."""
    global _ask  # noqa: PLW0603
    _ask = ask


def trace_id(*, sampled: bool = False) -> str | None:
    """32 hexadecimal digits; "": no span is current; None: this process makes no spans.

    Args:
        sampled: Only of a trace that is recorded, so that it can be looked up.
    """
    return None if _ask is None else _ask(sampled)
