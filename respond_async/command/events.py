"""Following the hub's server-sent events; a connection that was lost goes on where it ended."""

import json
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import httpx

__all__ = ["Event", "EventsRefused", "NoHub", "follow"]

#: The hub sends a sign of life every 20 s by default.
SILENT_SECONDS: Final = 65.0
_CONNECT_SECONDS: Final = 10.0
_LONGEST_PAUSE_SECONDS: Final = 15.0
#: These pass by themselves; other refusals do not.
_PASSING: Final = frozenset({429, 500, 502, 503, 504})
#: WebSocket's close code for what will not be allowed, as the stream's last event tells it.
_NOT_ALLOWED: Final = 1008


class EventsRefused(Exception):
    """The hub does not let this client listen; the message says why."""


class NoHub(EventsRefused):
    """What answers there has no hub."""


@dataclass(frozen=True, slots=True)
class Event:
    """One of the stream."""

    #: `welcome`, `subscribed`, `data` or `error`.
    kind: str
    #: Where to go on from; empty if it has none.
    id: str
    data: dict[str, Any]


def follow(
    client: httpx.Client,
    url: str,
    *,
    params: dict[str, str],
    headers: dict[str, str],
    since: str | None = None,
    silent_seconds: float = SILENT_SECONDS,
    on_lost: Callable[[str], None] | None = None,
) -> Iterator[Event]:
    """The events of a channel, for ever.

    Args:
        client: Asks.
        url: The service's or the hub's.
        params: Names the channel.
        headers: Who asks.
        since: The last message that was seen; None: what comes from now on.
        silent_seconds: A connection that says nothing for so long is lost.
        on_lost: Called with the reason when the connection was lost and will be made again;
            None: it is not, and the events end.

    Raises:
        EventsRefused: The hub refuses, or there is none.
        httpx.TransportError: The first connection failed.
    """
    last, failures, connected = since, 0, False
    timeout = httpx.Timeout(_CONNECT_SECONDS, read=silent_seconds)
    while True:
        more = {} if last is None else {"Last-Event-ID": last}
        try:
            with client.stream(
                "GET", f"{url.rstrip('/')}/events", params=params, timeout=timeout,
                headers={**headers, **more, "Accept": "text/event-stream"},
            ) as response:  # fmt: skip
                _check(response, url, passing=connected)
                connected = True
                why = "the stream ended"
                for event in _events(response):
                    failures = 0
                    last = event.id or last
                    if event.kind == "error":
                        why = str(event.data.get("detail"))
                        if event.data.get("code") == _NOT_ALLOWED:
                            raise EventsRefused(why)
                        break
                    yield event
        except httpx.TransportError as error:
            if not connected:
                raise
            why = str(error) or type(error).__name__
        if on_lost is None:
            return
        on_lost(why)
        longest = min(0.25 * 2.0**failures, _LONGEST_PAUSE_SECONDS)
        failures = min(failures + 1, 10)
        time.sleep(longest * random.uniform(0.5, 1.0))  # noqa: S311 - spreads load, hides nothing


def _check(response: httpx.Response, url: str, *, passing: bool) -> None:
    if response.status_code == HTTPStatus.OK:
        if "text/event-stream" in response.headers.get("Content-Type", ""):
            return
        raise EventsRefused(f"{url}/events answers, but not with events: is it the hub's address?")
    response.read()
    if passing and response.status_code in _PASSING:
        raise httpx.RemoteProtocolError(f"status {response.status_code}")
    if response.status_code == HTTPStatus.NOT_FOUND:
        raise NoHub(f"there is no hub at {url}")
    try:
        detail = response.json()["detail"]
    except (ValueError, KeyError, TypeError):
        detail = response.reason_phrase
    raise EventsRefused(f"{url}/events answered {response.status_code}: {detail}")


def _events(response: httpx.Response) -> Iterator[Event]:
    fields: dict[str, str] = {}
    for text in response.iter_lines():
        if text.startswith(":"):
            continue
        if text:
            name, _, value = text.partition(":")
            fields[name] = value.removeprefix(" ")
            continue
        if "data" in fields:
            data = json.loads(fields["data"])
            yield Event(fields.get("event", "message"), fields.get("id", ""), data)
        fields = {}
