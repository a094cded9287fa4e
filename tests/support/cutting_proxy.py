"""A TCP proxy that ends connections at random, in the middle of whatever they carry."""

import random
import socket
import struct
import threading
from contextlib import suppress
from typing import Self

_RESET = struct.pack("ii", 1, 0)


class CuttingProxy:
    """Each connection is reset after some random number of bytes from the server, until `calm`."""

    def __init__(self, target_port: int, seed: int, *, most_bytes: int) -> None:
        self.cuts = 0
        self.calm = False
        self._target = target_port
        self._random = random.Random(seed)
        self._most = most_bytes
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        # Wakes `accept`, which closing alone does not.
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client:
            try:
                server = socket.create_connection(("127.0.0.1", self._target), timeout=5)
            except OSError:
                return
            server.settimeout(None)
            with server:
                threading.Thread(target=_pump, args=(client, server), daemon=True).start()
                self._pump_until_cut(server, client, self._random.randrange(1, self._most))
                for end in (client, server):
                    with suppress(OSError):
                        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                        end.shutdown(socket.SHUT_RDWR)

    def _pump_until_cut(self, server: socket.socket, client: socket.socket, left: int) -> None:
        with suppress(OSError):
            while part := server.recv(4096):
                if self.calm:
                    client.sendall(part)
                    continue
                client.sendall(part[:left])
                left -= len(part)
                if left <= 0:
                    self.cuts += 1
                    return


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while part := source.recv(4096):
            sink.sendall(part)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
