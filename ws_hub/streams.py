"""What waits for a client that reads over HTTP."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from ws_hub import protocol, protocol2
from ws_hub.admission import Wanted
from ws_hub.following import Follow
from ws_hub.positions import Position
from ws_hub.published import Published
from ws_hub.settings import HubSettings
from ws_hub.tokens import Claims


@dataclass(slots=True)
class Collected:
    """What a long-poll is answered."""

    messages: list[dict[str, Any]] = field(default_factory=list)
    #: Of each channel, once its history was read.
    recovered: dict[str, bool | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Item:
    kind: str
    text: str
    follow: Follow
    published: Published | None = None
    recovered: bool | None = None


class Stream:
    """A bounded queue of messages, and the end of it. See `Receiver`.

    Args:
        claims: Of the token it came with.
        settings: Limits.
        wanted: The channels it is for.
    """

    def __init__(
        self, claims: Claims | None, settings: HubSettings, wanted: Sequence[Wanted]
    ) -> None:
        self.claims = claims
        self._limit: Final = settings.hub_send_queue_messages
        self._items: deque[_Item] = deque()
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._end: tuple[int, str] | None = None
        self._alone: Final = len(wanted) == 1
        self._ids = {one.name: str(one.since) for one in wanted if one.since is not None}

    def end(self, code: int | None, reason: str = "") -> None:
        """Ends it; the first reason counts."""
        if self._end is None:
            self._end = (code or protocol.CLOSE_INTERNAL_ERROR, reason)
            self._news.set()

    def restart(self, seconds: int) -> None:
        """Ends it because the hub stops."""
        reason = f"the server restarts, reconnect within {seconds} s"
        self.end(protocol.CLOSE_RESTART, reason)

    async def room(self) -> None:
        """See `Receiver`."""
        while len(self._items) > self._limit // 2:
            self._room.clear()
            await self._room.wait()

    def take(self, follow: Follow, published: Published) -> None:
        """See `Receiver`."""
        if len(self._items) >= self._limit:
            self.end(protocol.CLOSE_TRY_AGAIN_LATER, "messages are read too slowly")
            return
        self._put(_Item("data", published.numbered(), follow, published=published))

    def caught_up(self, follow: Follow, recovered: bool | None, seen: Position | None) -> None:  # noqa: FBT001 - as in Receiver
        """See `Receiver`."""
        assert follow.position is not None
        shown = protocol.shown_channel(follow.channel)
        message = protocol2.subscribed(shown, follow.position, recovered=recovered, seen=seen)
        self._put(_Item("subscribed", protocol.encode(message), follow, recovered=recovered))

    def failed(self, follow: Follow) -> None:  # noqa: ARG002 - as in Receiver
        """See `Receiver`."""
        self.end(protocol.CLOSE_TRY_AGAIN_LATER, "notifications are not available now")

    async def events(self, beat_seconds: float) -> AsyncIterator[str]:
        """The stream of server-sent events; ends with an `error` that holds the reason."""
        while self._end is None:
            while self._items and self._end is None:
                yield self._event(self._next())
            if not await self._wait(min(beat_seconds, self._remaining())) and self._end is None:
                if self._remaining() <= 0:
                    self.end(protocol.CLOSE_NOT_ALLOWED, "the token has expired")
                else:
                    yield ": still here\n\n"
        code, reason = self._end
        error = protocol2.error(reason) | {"code": code}
        yield f"event: error\ndata: {protocol.encode(error)}\n\n"

    async def collected(
        self, channels: int, seconds: float, gone: asyncio.Task[None]
    ) -> Collected | None:
        """What came, once every channel's history was read and there is a message or time is up.

        Returns None where it ended before that.
        """
        came = Collected()
        clock = asyncio.get_running_loop().time
        deadline = clock() + seconds
        gone.add_done_callback(lambda _: self._news.set())
        while True:
            while self._items:
                item = self._next()
                if item.published is None:
                    came.recovered[item.follow.channel] = item.recovered
                else:
                    came.messages.append(_polled(item.published, item.follow))
            if self._end is not None or gone.done():
                return None
            if len(came.recovered) == channels:
                if came.messages or False in came.recovered.values() or clock() >= deadline:
                    return came
                await self._wait(deadline - clock())
            else:
                await self._wait(None)

    def _put(self, item: _Item) -> None:
        self._items.append(item)
        self._news.set()

    def _next(self) -> _Item:
        item = self._items.popleft()
        self._room.set()
        return item

    def _event(self, item: _Item) -> str:
        # Of all channels, so that a browser that connects again by itself goes on with each.
        at = item.published.position if item.published else item.follow.position
        if at is not None:
            self._ids[item.follow.name] = str(at)
        ids = self._ids
        event_id = (
            next(iter(ids.values()))
            if self._alone
            else ",".join(f"{name}:{one}" for name, one in ids.items())
        )
        return f"id: {event_id}\nevent: {item.kind}\ndata: {item.text}\n\n"

    def _remaining(self) -> float:
        if self.claims is None or self.claims.expires_at is None:
            return float("inf")
        return max(0.0, (self.claims.expires_at - datetime.now(UTC)).total_seconds())

    async def _wait(self, seconds: float | None) -> bool:
        """Whether there is news within that time."""
        if self._items or self._end is not None:
            return True
        self._news.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            return False
        return True


def together(recovered: dict[str, bool | None]) -> bool | None:
    """Of several channels: False if one has a gap, None if none had anything to recover."""
    values: Iterable[bool | None] = recovered.values()
    known = [one for one in values if one is not None]
    return all(known) if known else None


def _polled(published: Published, follow: Follow) -> dict[str, Any]:
    return {
        "id": None if published.position is None else str(published.position),
        "channel": protocol.shown_channel(follow.channel),
        "data": published.field("data"),
    }
