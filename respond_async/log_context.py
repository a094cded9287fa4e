"""What the log lines of one request have in common, in the app and in the worker."""

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

from respond_async.envelope import CapturedRequest
from respond_async.tracing.current import trace_id
from ws_hub import user_of_channel

__all__ = ["LOG_CONTEXT", "LogContext", "log_fields", "of_replay"]


@dataclass(slots=True)
class LogContext:
    """Of one request; whoever learns more of it adds that, and the lines that follow have it."""

    request_id: str = ""
    task_id: str = ""
    #: The `sub` of its token; "": there was none.
    user: str = ""

    def captured(self, request: CapturedRequest) -> None:
        """The request goes to the queue."""
        self.task_id = request.task_id
        self.user = user_of_channel(request.channel) or ""

    def fields(self) -> dict[str, str]:
        """What is known."""
        known = {"request_id": self.request_id, "task_id": self.task_id, "user": self.user}
        return {name: value for name, value in known.items() if value}


#: Of the request that this context works for: set by `RequestIds` and by a replay.
LOG_CONTEXT: Final[ContextVar[LogContext | None]] = ContextVar("respond_async.log", default=None)


def of_replay(request: CapturedRequest) -> LogContext:
    """The context of a request that a worker replays."""
    context = LogContext(request.request_id)
    context.captured(request)
    return context


def log_fields() -> dict[str, str]:
    """What is known here of `request_id`, `task_id`, `user` and `trace_id`; for a log processor."""
    context = LOG_CONTEXT.get()
    fields = context.fields() if context is not None else {}
    if trace := trace_id():
        fields["trace_id"] = trace
    return fields
