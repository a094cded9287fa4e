"""A socket of version 1: one channel, what is published while it is open, ping and pong."""

from typing import TYPE_CHECKING, Any

from starlette.websockets import WebSocket

from ws_hub import protocol
from ws_hub.errors import BadMessage, SubscriptionTimeout
from ws_hub.published import Published
from ws_hub.settings import HubSettings
from ws_hub.sockets import Socket
from ws_hub.subscriber import Subscriber
from ws_hub.tokens import Claims

if TYPE_CHECKING:
    import asyncio


class Session(Socket):
    """Hears one channel from `subscribed` on.

    Args:
        websocket: Accepted.
        claims: Of the token it came with.
        channel: The internal name of the channel it hears.
        settings: Limits and intervals.
        subscriber: Gives what is published.
    """

    def __init__(
        self,
        websocket: WebSocket,
        claims: Claims | None,
        channel: str,
        settings: HubSettings,
        subscriber: Subscriber,
    ) -> None:
        super().__init__(websocket, settings)
        if claims is not None:
            self._logged_in(claims)
        self._channel = channel
        self._subscriber = subscriber
        # Until it has been told `subscribed`, what comes waits here.
        self._before: list[str] | None = []
        self._subscribing: asyncio.Task[None] | None = None

    def deliver(self, published: Published) -> None:
        """Sends what was published; ends the session if too much waits."""
        if published.is_progress():
            # Front ends of version 1 take every message for the end of a request.
            return
        if self._before is None:
            self._outbox.put(published.text)
        elif len(self._before) < self._settings.hub_send_queue_messages:
            self._before.append(published.text)
        else:
            self._is_slow()

    def resubscribed(self) -> None:
        """Announces the subscription again: messages may have been missed before it."""
        if self._before is None:
            self._put(protocol.subscribed(self._channel))

    def restart(self, seconds: int) -> None:  # noqa: ARG002 - version 1 has one reason
        """See `Socket`."""
        self.end(protocol.CLOSE_RESTART, "the server restarts")

    def _opened(self) -> None:
        self._subscribing = self._loop.create_task(self._subscribe())

    def _closed(self) -> None:
        self._subscriber.unsubscribe(self._channel, self)
        if self._subscribing is not None:
            self._subscribing.cancel()

    async def _subscribe(self) -> None:
        try:
            await self._subscriber.subscribe(
                self._channel,
                self,
                timeout_seconds=self._settings.hub_subscribe_timeout_seconds,
            )
        except SubscriptionTimeout:
            self.end(protocol.CLOSE_TRY_AGAIN_LATER, "notifications are not available now")
            return
        finally:
            self._subscribing = None
        before, self._before = self._before or [], None
        self._put(protocol.subscribed(self._channel))
        for text in before:
            self._outbox.put(text)

    async def _answer(self, text: str | None) -> dict[str, Any] | None:
        if text is None:
            return protocol.error("binary messages are not understood; send JSON as text")
        try:
            kind = protocol.parse_client(text)
        except BadMessage as wrong:
            return protocol.error(str(wrong))
        return protocol.pong() if kind == "ping" else None
