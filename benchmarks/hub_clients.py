"""Ten thousand WebSocket clients in one process: they read text frames and do nothing else."""

import asyncio
import base64
import json
import os
import time
import zlib
from collections.abc import Callable
from typing import Any

_KEY = base64.b64encode(os.urandom(16)).decode()


class Client(asyncio.Protocol):
    """RFC 6455, as far as a hub that sends unfragmented text needs it."""

    def __init__(self, port: int, query: str, heard: Callable[[dict[str, object]], None]) -> None:
        self._port = port
        self._query = query
        self._heard = heard
        self._buffer = b""
        self._upgraded = False
        self._inflate: Any = None
        self.transport: asyncio.Transport | None = None
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(
            f"GET /ws?{self._query} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            # As every browser does.
            "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
            f"Sec-WebSocket-Key: {_KEY}\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._upgraded:
            head, end, rest = self._buffer.partition(b"\r\n\r\n")
            if not end:
                return
            assert head.startswith(b"HTTP/1.1 101"), head[:100]
            self._upgraded = True
            self._buffer = rest
        while (frame := self._next_frame()) is not None:
            opcode, payload = frame
            if opcode == 1:
                self._heard(json.loads(payload))
            elif opcode == 9:
                self._send(10, payload)

    def connection_lost(self, _: Exception | None) -> None:
        self.lost = True

    def _next_frame(self) -> tuple[int, bytes] | None:
        if len(self._buffer) < 2:
            return None
        start, size = 2, self._buffer[1] & 127
        if size == 126:
            if len(self._buffer) < 4:
                return None
            start, size = 4, int.from_bytes(self._buffer[2:4])
        if len(self._buffer) < start + size:
            return None
        opcode, payload = self._buffer[0] & 15, self._buffer[start : start + size]
        if self._buffer[0] & 64:
            # RFC 7692 7.2.2
            self._inflate = self._inflate or zlib.decompressobj(-zlib.MAX_WBITS)
            payload = self._inflate.decompress(payload + b"\x00\x00\xff\xff")
        self._buffer = self._buffer[start + size :]
        return opcode, payload

    def _send(self, opcode: int, payload: bytes) -> None:
        assert self.transport is not None
        # A mask of zeros leaves the payload as it is.
        self.transport.write(bytes([128 | opcode, 128 | len(payload), 0, 0, 0, 0]) + payload)


class Crowd:
    """Many clients, each on a channel of its own."""

    def __init__(self, port: int, query: str) -> None:
        self._port = port
        self._query = query
        self._joined = 0
        self._changed = asyncio.Event()
        #: Seconds from publication to arrival.
        self.latencies: list[float] = []
        self.clients: list[Client] = []

    async def join(self, count: int, at_once: int = 100) -> None:
        """Opens `count` more; returns once each was told `subscribed`."""
        first = len(self.clients)
        loop = asyncio.get_running_loop()
        for start in range(first, first + count, at_once):
            numbers = range(start, min(start + at_once, first + count))
            made = await asyncio.gather(
                *(
                    loop.create_connection(
                        lambda n=number: Client(  # type: ignore[misc]
                            self._port, self._query.format(channel=channel(n)), self._heard
                        ),
                        "127.0.0.1", self._port,
                    )
                    for number in numbers
                )
            )  # fmt: skip
            self.clients += [client for _, client in made]
            await self._until(lambda: self._joined >= len(self.clients), 60)

    async def hear(self, count: int, within: float) -> None:
        """Returns once `count` messages came; after `within` seconds in any case."""
        await self._until(lambda: len(self.latencies) >= count, within)

    def close(self) -> None:
        for client in self.clients:
            if client.transport is not None:
                client.transport.abort()

    def _heard(self, message: dict[str, object]) -> None:
        if message["type"] == "subscribed":
            self._joined += 1
        elif message["type"] == "data":
            self.latencies.append(time.time() - float(str(message["data"])))
        self._changed.set()

    async def _until(self, condition: Callable[[], bool], within: float) -> None:
        deadline = time.monotonic() + within
        while not condition() and time.monotonic() < deadline:
            self._changed.clear()
            try:
                async with asyncio.timeout(0.5):
                    await self._changed.wait()
            except TimeoutError:
                continue


def channel(number: int) -> str:
    return f"channel-of-client-{number:06}"
