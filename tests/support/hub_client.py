"""A client of version 2, as small as can be: it remembers the last id of its channel."""

import json
import time
from contextlib import suppress
from typing import Any

from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection, connect


class NumberedClient:
    """Follows one channel through every reconnect; what it was told stands in `heard`."""

    def __init__(self, url: str, channel: str, silence: float = 5) -> None:
        """`silence` is for how many seconds it may hear nothing before it connects again."""
        self.heard: list[str] = []
        self.gaps = 0
        self.reconnects = -1
        self.joined = False
        self._url = f"{url}?protocol=2&channel={channel}"
        self.last: str | None = None
        self._silence = silence

    def listen(self, until: str, within: float) -> None:
        """Returns once `until` was heard."""
        deadline = time.monotonic() + within
        while until not in self.heard[-1:]:
            assert time.monotonic() < deadline, (
                f"{until} not within {within:g} s: {len(self.heard)} messages, last {self.heard[-1:]}, "
                f"{self.reconnects} reconnects"
            )
            with suppress(OSError, WebSocketException, TimeoutError):
                self._one_connection(until, deadline)

    def _one_connection(self, until: str, deadline: float) -> None:
        since = "" if self.last is None else f"&since={self.last}"
        with connect(
            self._url + since, open_timeout=2, close_timeout=0.2, compression=None
        ) as socket:
            self.reconnects += 1
            while time.monotonic() < deadline and until not in self.heard[-1:]:
                self._take(json.loads(self._received(socket)))

    def _take(self, message: dict[str, Any]) -> None:
        if message["type"] == "subscribed":
            self.last = message["id"]
            self.joined = True
            self.gaps += message["recovered"] is False
        elif message["type"] == "data":
            self.last = message["id"]
            self.heard.append(message["data"])

    def _received(self, socket: ClientConnection) -> str:
        text = socket.recv(timeout=self._silence)
        assert isinstance(text, str)
        return text
