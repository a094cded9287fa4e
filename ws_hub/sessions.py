"""One client's socket: what comes in, what goes out, and when it ends."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from starlette.websockets import WebSocket, WebSocketDisconnect

from ws_hub import protocol
from ws_hub.cancelling import cancel_all
from ws_hub.errors import BadMessage, SubscriptionTimeout
from ws_hub.settings import HubSettings
from ws_hub.subscriber import Subscriber

# Wall clocks jump and timers drift: look at the time again at least this often.
_LONGEST_SLEEP_SECONDS: Final = 600.0


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a session ends. `code` None: the client has gone, there is nobody to tell."""

    code: int | None
    reason: str = ""


class Session:
    """A socket on one channel. It never waits for its client on anybody else's time.

    Whatever is for the client goes into a bounded queue, without waiting (`deliver`), and one
    task empties it; a client that reads too slowly ends its own session and nothing else.

    A silent client is not closed: the server's WebSocket pings (uvicorn: every 20 s) find the
    dead ones, and a simple front end need not answer the hub's own.

    Args:
        websocket: Accepted.
        channel: The internal name of the channel it hears.
        settings: Limits and intervals.
        expires_at: When its token expires; None: never.
    """

    def __init__(
        self,
        websocket: WebSocket,
        channel: str,
        settings: HubSettings,
        expires_at: datetime | None = None,
    ) -> None:
        self._websocket = websocket
        self._channel = channel
        self._settings = settings
        self._expires_at = expires_at
        self._outgoing: asyncio.Queue[str] = asyncio.Queue(settings.hub_send_queue_messages)
        self._ending: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()
        self._announced = False

    def deliver(self, text: str) -> None:
        """Queues a message for the client; ends the session if its queue is full."""
        try:
            self._outgoing.put_nowait(text)
        except asyncio.QueueFull:
            self.end(protocol.CLOSE_TRY_AGAIN_LATER, "messages are read too slowly")

    def resubscribed(self) -> None:
        """Announces the subscription again: messages may have been missed before it."""
        if self._announced:
            self.deliver(protocol.encode(protocol.subscribed(self._channel)))

    def end(self, code: int | None, reason: str = "") -> None:
        """Ends the session; the first reason counts."""
        if not self._ending.done():
            self._ending.set_result(Ending(code, reason))

    async def run(self, subscriber: Subscriber) -> Ending:
        """Serves the client until something ends it, and says what; closing is the caller's."""
        parts = [self._read(), self._write(subscriber), self._beat()]
        if self._expires_at is not None:
            parts.append(self._expire(self._expires_at))
        tasks = [asyncio.create_task(part) for part in parts]
        either: list[asyncio.Future[Any]] = [self._ending, *tasks]
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()
        except WebSocketDisconnect:
            self.end(None)
        finally:
            subscriber.unsubscribe(self._channel, self)
            await cancel_all(tasks)
        return await self._ending

    async def _read(self) -> None:
        while True:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                self.end(None)
                return
            text = message.get("text")
            size = len((text or "").encode()) + len(message.get("bytes") or b"")
            if size > self._settings.hub_max_message_bytes:
                limit = self._settings.hub_max_message_bytes
                self.end(protocol.CLOSE_TOO_BIG, f"a message may have at most {limit} bytes")
                return
            answer = self._answer(text)
            if answer is not None:
                self.deliver(protocol.encode(answer))
            # A burst is received without a real await: let the writer take its turn.
            await asyncio.sleep(0)

    def _answer(self, text: str | None) -> dict[str, Any] | None:
        if text is None:
            return protocol.error("binary messages are not understood; send JSON as text")
        try:
            kind = protocol.parse_client(text)
        except BadMessage as wrong:
            return protocol.error(str(wrong))
        return protocol.pong() if kind == "ping" else None

    async def _write(self, subscriber: Subscriber) -> None:
        try:
            await subscriber.subscribe(
                self._channel,
                self,
                timeout_seconds=self._settings.hub_subscribe_timeout_seconds,
            )
        except SubscriptionTimeout:
            self.end(protocol.CLOSE_TRY_AGAIN_LATER, "notifications are not available now")
            return
        self._announced = True
        await self._send(protocol.encode(protocol.subscribed(self._channel)))
        while not self._ending.done():
            await self._send(await self._outgoing.get())

    async def _send(self, text: str) -> None:
        try:
            async with asyncio.timeout(self._settings.hub_send_timeout_seconds):
                await self._websocket.send_text(text)
        except TimeoutError:
            self.end(protocol.CLOSE_TRY_AGAIN_LATER, "messages are read too slowly")

    async def _beat(self) -> None:
        text = protocol.encode(protocol.ping())
        while True:
            await asyncio.sleep(self._settings.hub_ping_interval_seconds)
            self.deliver(text)

    async def _expire(self, moment: datetime) -> None:
        remaining = (moment - datetime.now(UTC)).total_seconds()
        while remaining > 0:
            await asyncio.sleep(min(remaining, _LONGEST_SLEEP_SECONDS))
            remaining = (moment - datetime.now(UTC)).total_seconds()
        self.end(protocol.CLOSE_NOT_ALLOWED, "the token has expired")
