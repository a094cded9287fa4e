"""`/metrics`: who may read it, in which format, and a port of its own.

The same in the app, the hub and the worker. A scrape reads numbers that are there; nothing is
asked of Kafka or Redis for it.
"""

import errno
import hmac
import logging
import os
import socket
import socketserver
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock, Thread
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ws_hub.settings import HubSettings

__all__ = ["METRICS_PATH", "Exposition"]

logger = logging.getLogger(__name__)

METRICS_PATH: Final = "/metrics"

#: Where several processes share their numbers, each writes those it only reads at a scrape, so often.
_SHARED_SECONDS: Final = 5.0
#: A client of the port that sends nothing for so long is dropped.
_CLIENT_SECONDS: Final = 5.0


class Exposition:
    """The metrics of this process, or of all that share PROMETHEUS_MULTIPROC_DIR.

    Args:
        settings: Who may read them, and where.
    """

    def __init__(self, settings: HubSettings) -> None:
        token = settings.metrics_token
        self._settings: Final = settings
        self._token: Final = token.get_secret_value().encode() if token else b""
        self._readings: Final[list[Callable[[], None]]] = []
        self._reading: Final = Lock()
        self._lock: Final = Lock()
        self._ended = Event()
        self._server: ThreadingHTTPServer | None = None

    def read_with(self, reading: Callable[[], None]) -> None:
        """Has `reading` bring its metrics up to date before each scrape; it must be quick."""
        self._readings.append(reading)

    def route(self) -> Route | None:
        """`/metrics` for the process's own HTTP port; None without METRICS_TOKEN: it is public."""
        if not self._token:
            return None

        # Not async: it renders in a thread, so that a thousand series do not stop the loop.
        def metrics(request: Request) -> Response:
            get = request.headers.get
            status, headers, body = self.answer(get("authorization", ""), get("accept", ""))
            return Response(body, status, headers)

        return Route(METRICS_PATH, metrics, include_in_schema=False)

    def answer(self, authorization: str, accept: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body for a request with these headers."""
        if self._token:
            kind, _, given = authorization.partition(" ")
            # As bytes: of text with other than ASCII characters no digest would be compared.
            right = hmac.compare_digest(given.strip().encode("utf-8", "replace"), self._token)
            if kind.lower() != "bearer" or not right:
                return 401, {"WWW-Authenticate": "Bearer"}, b"METRICS_TOKEN is needed\n"
        from prometheus_client import REGISTRY, CollectorRegistry, multiprocess
        from prometheus_client.exposition import choose_encoder

        self._read()
        registry = REGISTRY
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            registry = CollectorRegistry()
            multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        encode, kind = choose_encoder(accept)
        return 200, {"Content-Type": kind, "Cache-Control": "no-store"}, encode(registry)

    def start(self) -> None:
        """Opens METRICS_PORT if one is set, and keeps shared numbers up to date.

        Never raises: a port that is taken is said in the log. Where several processes share their
        numbers, whichever has the port shows them all.
        """
        with self._lock:
            self._ended = Event()
            shared = "PROMETHEUS_MULTIPROC_DIR" in os.environ
            if shared:
                Thread(
                    target=self._keep_up, args=(self._ended,), name="metrics-shared", daemon=True
                ).start()
            port = self._settings.metrics_port
            if not port or self._server is not None:
                return
            try:
                self._server = _Server((self._settings.metrics_address, port), _handler(self))
            except OSError as error:
                if not (shared and error.errno == errno.EADDRINUSE):
                    logger.warning(
                        "METRICS_PORT: nothing listens on %s:%d: %s",
                        self._settings.metrics_address, port, error,
                    )  # fmt: skip
                return
            Thread(target=self._server.serve_forever, name="metrics-port", daemon=True).start()

    def stop(self) -> None:
        """Closes the port."""
        with self._lock:
            self._ended.set()
            server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            from prometheus_client import multiprocess

            # Its gauges count no longer; what it counted does.
            multiprocess.mark_process_dead(os.getpid())  # type: ignore[no-untyped-call]

    def _keep_up(self, ended: Event) -> None:
        while not ended.wait(_SHARED_SECONDS):
            self._read()

    def _read(self) -> None:
        # One at a time: what is added to a counter is the difference to the last reading.
        with self._reading:
            for reading in self._readings:
                try:
                    reading()
                except Exception:
                    logger.exception("a metric could not be read")


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, handler)

    def server_bind(self) -> None:
        # HTTPServer's own asks a name server for the host's name, which nobody needs here.
        socketserver.TCPServer.server_bind(self)


def _handler(exposition: Exposition) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = _CLIENT_SECONDS

        def do_GET(self) -> None:
            if self.path.partition("?")[0] != METRICS_PATH:
                self.send_error(404)
                return
            get: Callable[[str, str], Any] = self.headers.get
            status, headers, body = exposition.answer(get("Authorization", ""), get("Accept", ""))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Scrapes are no news."""

    return Handler
