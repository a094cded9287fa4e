"""A client that costs little: N kept connections, each with one request under way."""

import asyncio
import time


class Connection(asyncio.Protocol):
    """Sends the same request again as soon as it is answered."""

    def __init__(self, request: bytes, expected: bytes, until: float) -> None:
        self.request, self.expected, self.until = request, expected, until
        self.seconds: list[float] = []
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.buffer = b""
        self.sent = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.send()

    def send(self) -> None:
        self.sent = time.perf_counter()
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, end, body = self.buffer.partition(b"\r\n\r\n")
        if not end or len(body) < int(head.lower().split(b"content-length: ")[1].split(b"\r")[0]):
            return
        if not head.startswith(b"HTTP/1.1 " + self.expected):
            self.ended.set_exception(AssertionError(self.buffer[:500].decode()))
            return
        self.buffer = b""
        now = time.perf_counter()
        self.seconds.append(now - self.sent)
        if now < self.until:
            self.send()
        else:
            self.transport.close()

    def connection_lost(self, _: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(None)


async def load(
    port: int, request: bytes, expected: int, connections: int, seconds: float
) -> tuple[float, list[float]]:
    """Answers a second, and the seconds that each took."""
    loop = asyncio.get_running_loop()
    begun = time.perf_counter()
    made = [
        await loop.create_connection(
            lambda: Connection(request, str(expected).encode(), begun + seconds),
            "127.0.0.1",
            port,
        )
        for _ in range(connections)
    ]
    await asyncio.gather(*(protocol.ended for _, protocol in made))
    took = time.perf_counter() - begun
    each = [one for _, protocol in made for one in protocol.seconds]
    return len(each) / took, each


def post(path: str, body: bytes, *headers: str) -> bytes:
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: bench",
        "Content-Type: application/json",
        "Accept: application/json",
        "User-Agent: bench",
        f"Content-Length: {len(body)}",
        *headers,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
