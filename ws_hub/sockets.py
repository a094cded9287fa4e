"""What sockets of both versions of the protocol share: limits, heartbeat, expiry, end."""

import asyncio
from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from starlette.websockets import WebSocket, WebSocketDisconnect

from ws_hub import protocol
from ws_hub.cancelling import cancel_all
from ws_hub.outbox import Outbox
from ws_hub.settings import HubSettings
from ws_hub.tokens import Claims

# Wall clocks jump and timers drift: look at the time again at least this often.
_LONGEST_SLEEP_SECONDS: Final = 600.0
# A client may send that many seconds' worth of messages at once.
_BURST_SECONDS: Final = 5.0
_PING: Final = protocol.encode(protocol.ping())


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a session ends. `code` None: the client has gone, there is nobody to tell."""

    code: int | None
    reason: str = ""


class Socket(ABC):
    """One client's socket. It never waits for its client on anybody else's time.

    A silent client is not closed: the server's WebSocket pings (uvicorn: every 20 s) find the
    dead ones, and a simple front end need not answer the hub's own.

    Args:
        websocket: Accepted.
        settings: Limits and intervals.
    """

    def __init__(self, websocket: WebSocket, settings: HubSettings) -> None:
        self._websocket: Final = websocket
        self._settings: Final = settings
        self._loop: Final = asyncio.get_running_loop()
        self._ending: asyncio.Future[Ending] = self._loop.create_future()
        self._outbox: Final = Outbox(
            websocket.send_text,
            settings.hub_send_queue_messages,
            settings.hub_send_timeout_seconds,
            slow=self._is_slow,
            lost=self._has_gone,
        )
        self._beat: asyncio.TimerHandle | None = None
        self._expiry: asyncio.TimerHandle | None = None
        self._allowance = settings.hub_client_messages_per_second * _BURST_SECONDS
        self._counted_at = self._loop.time()
        #: Whose token let it in, if one did.
        self.claims: Claims | None = None

    def end(self, code: int | None, reason: str = "") -> None:
        """Ends the session; the first reason counts."""
        if not self._ending.done():
            self._ending.set_result(Ending(code, reason))

    async def run(self) -> Ending:
        """Serves the client until something ends it, and says what; closing is the caller's."""
        reading = self._loop.create_task(self._read())
        reading.add_done_callback(self._has_read)
        self._beat_later()
        try:
            self._opened()
            return await self._ending
        finally:
            for timer in (self._beat, self._expiry):
                if timer is not None:
                    timer.cancel()
            self._closed()
            await cancel_all([reading])
            await self._outbox.close()

    @abstractmethod
    def restart(self, seconds: int) -> None:
        """Ends the session because the hub stops.

        Args:
            seconds: Within which the clients should spread their coming back.
        """

    @abstractmethod
    def _opened(self) -> None:
        """Begins what the client hears."""

    @abstractmethod
    def _closed(self) -> None:
        """Ends what `_opened` began."""

    @abstractmethod
    async def _answer(self, text: str | None) -> dict[str, Any] | None:
        """What is answered to a message; `text` None: it was binary."""

    def _put(self, message: dict[str, Any]) -> None:
        self._outbox.put(protocol.encode(message))

    def _logged_in(self, claims: Claims) -> None:
        """From now on the socket ends when this token does."""
        self.claims = claims
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        if claims.expires_at is not None:
            self._expire(claims.expires_at)

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
            if self._is_flooded():
                rate = self._settings.hub_client_messages_per_second
                reason = f"more than {rate:g} messages a second"
                self.end(protocol.CLOSE_TRY_AGAIN_LATER, reason)
                return
            answer = await self._answer(text)
            if answer is not None:
                self._put(answer)
            # A burst is received without a real await: let the writer take its turn.
            await asyncio.sleep(0)

    def _has_read(self, reading: asyncio.Task[None]) -> None:
        error = None if reading.cancelled() else reading.exception()
        if isinstance(error, Exception):
            self._has_gone(error)

    def _is_flooded(self) -> bool:
        rate, now = self._settings.hub_client_messages_per_second, self._loop.time()
        earned = self._allowance + (now - self._counted_at) * rate
        self._allowance = min(earned, rate * _BURST_SECONDS) - 1
        self._counted_at = now
        return self._allowance < 0

    def _is_slow(self) -> None:
        self.end(protocol.CLOSE_TRY_AGAIN_LATER, "messages are read too slowly")

    def _has_gone(self, error: Exception) -> None:
        if isinstance(error, WebSocketDisconnect):
            self.end(None)
        elif not self._ending.done():
            self._ending.set_exception(error)

    def _beat_later(self) -> None:
        self._beat = self._loop.call_later(self._settings.hub_ping_interval_seconds, self._beat_now)

    def _beat_now(self) -> None:
        self._outbox.put(_PING)
        self._beat_later()

    def _expire(self, moment: datetime) -> None:
        remaining = (moment - datetime.now(UTC)).total_seconds()
        if remaining <= 0:
            self.end(protocol.CLOSE_NOT_ALLOWED, "the token has expired")
            return
        self._expiry = self._loop.call_later(
            min(remaining, _LONGEST_SLEEP_SECONDS), self._expire, moment
        )
