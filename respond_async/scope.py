"""What the library keeps in the ASGI scope, which no client can write."""

from collections.abc import MutableMapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

#: The `ReplayInfo` of a request that a worker replays.
REPLAY: Final = "respond_async.replay"
#: The `RawRequest` of a request with the header.
RAW_REQUEST: Final = "respond_async.request"
#: The `Identities` of the app.
IDENTITIES: Final = "respond_async.identities"
#: The `ProgressReports` of the app.
PROGRESS: Final = "respond_async.progress"
#: The `Verbatim` of a request whose answer may be one that was given before.
VERBATIM: Final = "respond_async.verbatim"

#: The id of the request in logs: its X-Request-ID, or one that was made.
REQUEST_ID: Final = "respond_async.request_id"
#: The label of the request's endpoint in metrics.
ROUTE: Final = "respond_async.route"

#: The trace context that travels with the request.
TRACE: Final = "respond_async.trace"

ASYNC_HEADER: Final = "x-async-request"

Scope = MutableMapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplayInfo:
    """Says that a worker replays this request, and what it was when it was accepted."""

    task_id: str
    #: The moment the request's token is judged by.
    accepted_at: datetime
    #: The internal name of the owner's channel.
    channel: str


def replay_info(scope: Scope) -> ReplayInfo | None:
    """The marker of a replay; None for a request that a client sent."""
    info = scope.get(REPLAY)
    return info if isinstance(info, ReplayInfo) else None


def asks_for_async(value: str | None) -> bool:
    """Whether the value of `X-Async-Request` asks for anything; `false` and absence do not."""
    return value is not None and value.strip().lower() != "false"
