"""Requests as bytes on a socket, and answers as they come back: nothing adds, mends or hides."""

import http.client
import io
import socket
from dataclasses import dataclass, field

#: What a server adds of its own, and what differs from moment to moment.
_NOT_COMPARED = frozenset({"date", "server"})
HOST = "api.example:1234"
CHANNEL = "channel-of-the-differential-test"


@dataclass(frozen=True)
class Case:
    """One request; every byte of it but Host and the header that asks for a replay."""

    method: str
    target: str | bytes
    headers: tuple[tuple[str | bytes, str | bytes], ...] = ()
    body: bytes = b""
    chunks: tuple[bytes, ...] = ()
    name: str = field(default="", compare=False)

    def __str__(self) -> str:
        return self.name or f"{self.method} {self.target!r}"[:80]

    def request(self, *extra: tuple[str, str]) -> bytes:
        lines = [_bytes(self.method) + b" " + _bytes(self.target) + b" HTTP/1.1"]
        headers = [("Host", HOST), ("Connection", "close"), *extra, *self.headers]
        if self.chunks:
            headers.append(("Transfer-Encoding", "chunked"))
        elif self.body or self.method in ("POST", "PUT", "PATCH"):
            headers.append(("Content-Length", str(len(self.body))))
        lines += [_bytes(name) + b": " + _bytes(value) for name, value in headers]
        body = self.body
        if self.chunks:
            parts = [b"%x\r\n%s\r\n" % (len(part), part) for part in self.chunks if part]
            body = b"".join(parts) + b"0\r\n\r\n"
        return b"\r\n".join(lines) + b"\r\n\r\n" + body


@dataclass(frozen=True)
class Answered:
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("latin-1")


def asked(port: int, case: Case, *extra: tuple[str, str]) -> Answered:
    """Sends the request to this port of this machine and reads the answer to its end."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(case.request(*extra))
        data = b""
        while part := connection.recv(1 << 16):
            data += part
    return parsed(data, case.method)


class _Said:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, *_: object) -> io.BytesIO:
        return io.BytesIO(self._data)


def parsed(data: bytes, method: str) -> Answered:
    response = http.client.HTTPResponse(_Said(data), method=method)  # type: ignore[arg-type]
    response.begin()
    body = response.read()
    headers = tuple(
        (name, value)
        for name, value in response.headers.raw_items()
        if name.lower() not in _NOT_COMPARED
    )
    return Answered(response.status, headers, body)
