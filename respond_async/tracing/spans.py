"""The spans themselves, named and described as the semantic conventions say.

https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/ and .../http/http-spans/.
No attribute holds a body, a query, a token or what an exception says.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from random import random
from typing import Any, Final

from celery import Celery
from opentelemetry import baggage, trace
from opentelemetry.context import Context, attach, detach, get_current
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanKind,
    Status,
    StatusCode,
    set_span_in_context,
)

from respond_async.envelope import CapturedRequest
from respond_async.scope import Scope
from respond_async.tracing.carriers import (
    BAGGAGE,
    carrier_of,
    context_of,
    given_by,
    headers_of,
    is_left_out,
    left_out,
    new_left_out,
    travelling,
)
from respond_async.tracing.current import ask_with
from respond_async.tracing.messaging import Messaging

__all__ = ["Tracing"]

_SERVER_ERROR: Final = 500
_NO_ROUTE: Final = ("", "other")


class Tracing:
    """Makes spans. Safe to use from any thread.

    A span that is not sampled has no children here, nor in the worker: they would not be either. Most
    requests of a busy service are not, so that way is kept short.

    Args:
        celery: Gives the Celery application, asked with the first message.
        provider: Default: the process's.
        ratio: Of what belongs to no trace yet, the share that begins one, from 0 to 1.
    """

    def __init__(
        self,
        celery: Callable[[], Celery],
        provider: trace.TracerProvider | None = None,
        ratio: float = 1.0,
    ) -> None:
        self._ratio: Final = ratio
        self._tracer: Final = trace.get_tracer("respond_async", tracer_provider=provider)
        #: What the messages' spans have in common.
        self.messaging: Final = Messaging(celery)
        ask_with(_trace_id)

    def _leaves_out(self) -> bool:
        return random() >= self._ratio  # noqa: S311 - nobody gains by guessing it

    # In the app.

    def leaves_out(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        """Whether a request with these headers belongs to no trace and begins none."""
        if not self._leaves_out() or _is_in_trace():
            return False
        known = travelling()
        for name, _ in headers:  # noqa: SIM110 - a generator takes as long as all else here
            if name in known:
                return False
        return True

    def accepting(self, scope: Scope, label: str) -> AbstractContextManager["Exchange"]:
        """A span of accepting; the request's own SERVER span unless an instrumentation made one.

        Args:
            scope: The request's.
            label: Its endpoint, as metrics call it.
        """
        context = get_current()
        server = trace.get_current_span(context)
        if server.get_span_context().is_valid:
            if not _is_sampled(server):
                return nullcontext(Exchange(server))
            if label not in _NO_ROUTE:
                # It is captured in front of the router, so nobody else tells.
                server.update_name(label)
                server.set_attribute("http.route", _route(label))
            span = self._tracer.start_span("accept")
        else:
            context = context_of(given_by(scope["headers"]))
            attributes = _http(scope["method"], label, scope["path"], scope.get("scheme"))
            span = self._tracer.start_span(
                _http_name(scope["method"], label), context, SpanKind.SERVER, attributes
            )
        return self._exchange(span, context)

    def carrier(self) -> dict[str, str]:
        """The current context, to travel sealed with a request or job."""
        return carrier_of(get_current())

    @staticmethod
    def unrecorded(carrier: Mapping[str, str]) -> dict[str, str] | None:
        """The headers of a message of which no span is made; None: `sending` makes one.

        Args:
            carrier: What `carrier()` gave for the current context; empty of what `leaves_out` left out.
        """
        if carrier:
            return headers_of(carrier) if is_left_out(carrier) else None
        return None if _is_in_trace() else new_left_out()

    def sending(
        self,
        queue: str | None,
        message_id: str,
        carrier: Mapping[str, str] | None = None,
    ) -> AbstractContextManager[dict[str, str]]:
        """A span of sending a message; gives the message's headers.

        Args:
            queue: Where to; None: Celery's default.
            message_id: Of the Celery message.
            carrier: Whom it is sent for; default: the current context.
        """
        context = get_current() if carrier is None else context_of(carrier)
        parent = trace.get_current_span(context)
        if not parent.get_span_context().is_valid:
            if self._leaves_out():
                return nullcontext(new_left_out())
        elif not _is_sampled(parent):
            return nullcontext(headers_of(carrier_of(context)))
        return self._sending(queue or self.messaging.default_queue(), message_id, context)

    @contextmanager
    def _sending(self, queue: str, message_id: str, context: Context) -> Iterator[dict[str, str]]:
        described = {**self.messaging.sending(queue), "messaging.message.id": message_id}
        span = self._tracer.start_span(f"send {queue}", context, SpanKind.PRODUCER, described)
        try:
            yield headers_of(carrier_of(set_span_in_context(span, context)))
        except BaseException as error:
            failed(span, type(error).__qualname__)
            raise
        finally:
            span.end()

    # In the worker.

    def unsampled(self, headers: Mapping[str, Any] | None) -> Span | None:
        """What stands for the span of a delivery whose trace nobody samples; None: `process` is to make one."""
        parent = left_out(headers)
        if parent is None and self._ratio < 1:
            known = trace.get_current_span(context_of(headers)).get_span_context()
            if not known.is_valid and self._leaves_out():
                parent = left_out(new_left_out())
        return None if parent is None else NonRecordingSpan(parent)

    def process(self, queue: str, headers: Mapping[str, Any] | None, **described: Any) -> Span:
        """The begun span of a delivery: child of the message's sending, and linked to it.

        Args:
            queue: Where it came from.
            headers: The message's.
            described: Attributes, `_` for `.`.
        """
        context = context_of(headers)
        creation = trace.get_current_span(context).get_span_context()
        attributes = {**self.messaging.processing(queue), **described}
        links = [Link(creation)] if creation.trace_flags.sampled else ()
        return self._tracer.start_span(
            f"process {queue}", context, SpanKind.CONSUMER, attributes, links
        )

    @staticmethod
    def has_nothing(carrier: Mapping[str, str]) -> bool:
        """Whether nothing is to be recorded or carried here: so it is with most requests of a busy service.

        Args:
            carrier: What travelled with the request.
        """
        return BAGGAGE not in carrier and not _is_sampled(trace.get_current_span())

    @contextmanager
    def replaying(self, request: CapturedRequest) -> Iterator["Exchange"]:
        """A span of the endpoint's run, current in the endpoint; with the request's baggage."""
        with self.carrying(request.trace) as context:
            parent = trace.get_current_span(context)
            if not _is_sampled(parent):
                yield Exchange(parent)
                return
            attributes = _http(request.method, request.route, request.path, request.scheme)
            name = f"replay {_http_name(request.method, request.route)}"
            span = self._tracer.start_span(name, context, attributes=attributes)
            with self._exchange(span, context) as exchange:
                yield exchange

    @staticmethod
    def readdressed(request: CapturedRequest) -> CapturedRequest:
        """The request with the current span as the parent in its `traceparent`, if it has one.

        An app's own instrumentation takes its parent from there, as behind any proxy.
        """
        if not _is_sampled(trace.get_current_span()):
            return request
        names = travelling().values()
        if not any(name in names for name, _ in request.headers):
            return request
        now = headers_of(carrier_of(get_current()))
        headers = tuple((name, now.get(name, value)) for name, value in request.headers)
        return request.model_copy(update={"headers": headers})

    @contextmanager
    def carrying(self, carrier: Mapping[str, str]) -> Iterator[Context]:
        """Makes the baggage of a carrier current, beside the span that is."""
        context = get_current()
        if BAGGAGE in carrier:
            for name, value in baggage.get_all(context_of(carrier)).items():
                context = baggage.set_baggage(name, value, context)
        token = attach(context)
        try:
            yield context
        finally:
            detach(token)

    def stored(self, since: int) -> None:
        """A result has been stored, which began at `since` (nanoseconds of the Unix time)."""
        parent = trace.get_current_span()
        if _is_sampled(parent):
            self._tracer.start_span("store result", start_time=since).end(time.time_ns())

    @staticmethod
    def attempt(number: int) -> None:
        """The current delivery is the request's or job's attempt of this number."""
        trace.get_current_span().set_attribute("respond_async.attempt", number)

    def notifying(self, carrier: Mapping[str, str]) -> AbstractContextManager[None]:
        """A span of telling the owner.

        Args:
            carrier: The request's, for whoever tells in the place of a worker that was lost.
        """
        context = get_current()
        if carrier and not trace.get_current_span().get_span_context().is_valid:
            context = context_of(carrier)
        if not _is_sampled(trace.get_current_span(context)):
            return nullcontext()
        return self._notifying(context)

    @contextmanager
    def _notifying(self, context: Context) -> Iterator[None]:
        # No destination: the name of a channel may be a secret of its owner's.
        attributes = {
            "messaging.system": "redis",
            "messaging.operation.name": "publish",
            "messaging.operation.type": "send",
            "messaging.destination.template": "ws_hub:{channel}",
        }
        span = self._tracer.start_span("publish completion", context, SpanKind.PRODUCER, attributes)
        try:
            yield
        finally:
            span.end()

    @staticmethod
    @contextmanager
    def _exchange(span: Span, context: Context) -> Iterator["Exchange"]:
        """Makes a span current, and ends it."""
        token = attach(set_span_in_context(span, context))
        try:
            yield Exchange(span)
        except BaseException as error:
            failed(span, type(error).__qualname__)
            raise
        finally:
            detach(token)
            span.end()


class Exchange:
    """The span of one HTTP exchange."""

    __slots__ = ("_span",)

    def __init__(self, span: Span) -> None:
        self._span: Final = span

    def answered(self, status: int, raised: tuple[str, ...] = ()) -> None:
        """It has its answer; `raised` are the names of what left the app, the class's own first."""
        if self._span.is_recording():
            self._span.set_attribute("http.response.status_code", status)
            if status >= _SERVER_ERROR or raised:
                failed(self._span, raised[0].removeprefix("builtins.") if raised else str(status))


def failed(span: Span, kind: str) -> None:
    """Marks a span as failed; with no words of the error, which may be anybody's."""
    if span.is_recording():
        span.set_attribute("error.type", kind)
        span.set_status(Status(StatusCode.ERROR))


def _is_in_trace() -> bool:
    return bool(get_current()) and trace.get_current_span().get_span_context().is_valid


def _is_sampled(span: Span) -> bool:
    return span.get_span_context().trace_flags.sampled


def _http(method: str, label: str, path: str, scheme: str | None) -> dict[str, Any]:
    attributes = {"http.request.method": method, "url.path": path, "url.scheme": scheme or "http"}
    if label not in _NO_ROUTE:
        attributes["http.route"] = _route(label)
    return attributes


def _route(label: str) -> str:
    return label.partition(" ")[2]


def _http_name(method: str, label: str) -> str:
    return method if label in _NO_ROUTE else label


def _trace_id(sampled: bool) -> str:  # noqa: FBT001 - as `ask_with` has it
    context = trace.get_current_span().get_span_context()
    if not context.is_valid or (sampled and not context.trace_flags.sampled):
        return ""
    return f"{context.trace_id:032x}"
