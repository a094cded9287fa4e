"""One client following one channel from a position on: nothing missed, nothing twice."""

import asyncio
import logging
import random
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Final, Protocol

from redis.exceptions import RedisError

from ws_hub.counts import COUNTS
from ws_hub.errors import SubscriptionTimeout
from ws_hub.history import History, Page
from ws_hub.positions import Position
from ws_hub.published import Published
from ws_hub.subscriber import Subscriber

logger = logging.getLogger(__name__)

# Live messages kept while history is read. More need not be: history has them too.
_LIVE_MESSAGES: Final = 64
_PAUSE_SECONDS: Final = 0.2


class Receiver(Protocol):
    """Where a followed channel's messages go. Only `room` may wait."""

    async def room(self) -> None:
        """Returns once the client has read enough that more of history may be sent."""

    def take(self, follow: "Follow", published: Published) -> None:
        """Sends a message."""

    def caught_up(self, follow: "Follow", recovered: bool | None, seen: Position | None) -> None:  # noqa: FBT001
        """Hears that what was missed has been taken and `follow.position` is where it stands."""

    def failed(self, follow: "Follow") -> None:
        """Hears that Redis does not answer; nothing comes any more."""


class Follow:
    """Subscribes first and reads history then, so the two overlap and offsets tell what is double.

    A message whose offset is not the next one means that some were missed, however that came
    about: history is read again. So it is when Redis was away.

    Invariant: `position` is that of the last message given to the receiver, or where the channel
    stood when it was joined. While `_task` is not None history is being read, and live messages
    wait in `_live`.

    Args:
        name: What the client calls the channel.
        channel: Its internal name.
        since: The last message the client has; None: it wants what comes from now on.
        receiver: The client.
        subscriber: Gives what is live.
        history: Gives what was missed.
        timeout_seconds: How long Redis may take to answer.
    """

    __slots__ = (
        "_again", "_history", "_live", "_receiver", "_subscriber", "_task", "_timeout",
        "channel", "name", "position",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        channel: str,
        since: Position | None,
        receiver: Receiver,
        *,
        subscriber: Subscriber,
        history: History,
        timeout_seconds: float,
    ) -> None:
        self.name: Final = name
        self.channel: Final = channel
        self.position = since
        self._receiver: Final = receiver
        self._subscriber: Final = subscriber
        self._history: Final = history
        self._timeout: Final = timeout_seconds
        self._live: list[Published] | None = None
        self._again = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins, in the background of the running loop."""
        self._catch_up(self._begin())

    def stop(self) -> None:
        """Ends; the receiver hears no more."""
        self._subscriber.unsubscribe(self.channel, self)
        if self._task is not None:
            self._task.cancel()

    def deliver(self, published: Published) -> None:
        """Takes a live message."""
        if self._task is None:
            self._take(published)
        elif self._live is None:
            self._live = [published]
        elif len(self._live) < _LIVE_MESSAGES:
            self._live.append(published)
        else:
            self._again = True

    def resubscribed(self) -> None:
        """Reads what was missed while Redis was away."""
        if self._task is None:
            self._catch_up(self._read())
        else:
            self._again = True

    def _take(self, published: Published) -> None:
        new, at = published.position, self.position
        if new is not None:
            if at is not None and new.epoch == at.epoch:
                if new.offset <= at.offset:
                    return
                missed = new.offset > at.offset + 1
            else:
                # A history that begins anew while we listen has been forgotten for want of use.
                missed = new.offset > 1
            if missed:
                self.resubscribed()
                return
            self.position = new
        COUNTS.deliveries += 1
        self._receiver.take(self, published)

    def _catch_up(self, reading: Coroutine[Any, Any, None]) -> None:
        self._task = asyncio.get_running_loop().create_task(reading)

    async def _begin(self) -> None:
        try:
            await self._subscriber.subscribe(self.channel, self, timeout_seconds=self._timeout)
        except SubscriptionTimeout:
            self._receiver.failed(self)
            return
        await self._read()

    async def _read(self) -> None:
        try:
            await self._read_on()
        except TimeoutError:
            self._receiver.failed(self)
        except Exception:
            logger.exception("history could not be read")
            self._receiver.failed(self)

    async def _read_on(self) -> None:
        recovered: bool | None = None if self.position is None else True
        while True:
            self._again = False
            page = await self._page()
            if page.gap:
                recovered = False
            for published in page.messages:
                await self._receiver.room()
                self.position = published.position
                COUNTS.deliveries += 1
                self._receiver.take(self, published)
            if page.messages and self.position != page.top:
                continue
            self.position = page.top
            # From here to the end nothing waits, so nothing comes in between.
            live, self._live = self._live or [], None
            for published in live:
                self._take(published)
            if self._again:
                continue
            self._task = None
            COUNTS.caught_up(recovered)
            self._receiver.caught_up(self, recovered, page.seen)
            return

    async def _page(self) -> Page:
        async with asyncio.timeout(self._timeout):
            while True:
                with suppress(RedisError):
                    return await self._history.read(self.channel, self.position)
                # Not all at once, when Redis is back.
                await asyncio.sleep(_PAUSE_SECONDS * random.uniform(0.5, 1.5))  # noqa: S311 - spreads load
