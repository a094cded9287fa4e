"""Where the brokers are and who asks: kombu's URLs, each of one broker or several.

``kafka://user:secret@a:9092,b:9092//`` is one cluster with two brokers to ask first. A list of URLs
(``broker_url`` as a list, or separated by ``;``) is kombu's failover: the next one is tried, with
its own login, when none of the brokers of the one before answers.
"""

from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, unquote

from kombu import Connection

from kafka_transport.errors import InvalidOption

__all__ = ["DEFAULT_PORT", "Address", "bootstrap_servers", "read_url", "settle"]

DEFAULT_PORT: Final = 9092


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """What a broker URL says."""

    scheme: str
    #: As librdkafka takes them: ``a:9092,[::1]:9093``.
    servers: str
    user: str | None = None
    password: str | None = None

    def as_url(self, *, mask: str | None = None, one_host: bool = False) -> str:
        """The URL again, with `mask` for the password where one is given.

        With `one_host` several brokers are written such that a parser of URLs takes them for one.
        """
        login = ""
        if self.user is not None:
            login = quote(self.user, safe="")
            if self.password is not None:
                login += ":" + (quote(self.password, safe="") if mask is None else mask)
            login += "@"
        servers = quote(self.servers, safe="") if one_host else self.servers
        return f"{self.scheme}://{login}{servers}//"


def read_url(url: str) -> Address:
    """What the URL says, user and password decoded.

    Raises:
        InvalidOption: It is no URL of Kafka brokers. The message holds nothing of the password.
    """
    scheme, _, rest = url.partition("://")
    authority, _, path = rest.partition("/")
    if "@" in path or "?" in authority or "#" in authority:
        raise InvalidOption(
            f"{scheme}:// broker URL: / ? # and @ in a user name or a password must be "
            "percent-encoded (urllib.parse.quote(password, safe=''))"
        )
    if "?" in path:
        raise InvalidOption(
            f"{scheme}:// broker URL: options stand in broker_transport_options, not after a ?"
        )
    login, at, hosts = authority.rpartition("@")
    user, colon, password = login.partition(":")
    return Address(
        scheme=scheme,
        servers=bootstrap_servers(hosts),
        user=unquote(user) if at else None,
        password=unquote(password) if colon else None,
    )


def bootstrap_servers(hosts: str, default_port: int | None = None) -> str:
    """``bootstrap.servers`` of a comma-separated list of hosts, in order, each once.

    Raises:
        InvalidOption: A port is no number.
    """
    port = default_port or DEFAULT_PORT
    found: dict[str, None] = {}
    for server in unquote(hosts).split(","):
        name = server.strip()
        if name.count(":") > 1 and not name.startswith("["):
            name = f"[{name}]"
        host, colon, given = name.rpartition(":") if not name.endswith("]") else (name, "", "")
        if not colon:
            host, given = name, str(port)
        elif not given.isdigit():
            # What stands there may be half of a password that was not encoded.
            raise InvalidOption("a port in the broker URL is no number: use host:9092,host:9092")
        if host:
            found[f"{host}:{given}"] = None
    return ",".join(found) or f"localhost:{port}"


def settle(connection: Connection) -> None:
    """Takes a connection's URL apart as kombu does for transports whose URLs it can read.

    The password then stands where nothing shows it (``inspect stats`` shows the host name), and
    the other URLs of a failover list are written such that kombu's own parser, which takes one
    host and port, reads them when their turn comes.
    """
    url = connection.hostname or ""
    if "://" in url:
        address = read_url(url)
        connection.hostname = address.servers
        connection.port = None
        if address.user is not None:
            connection.userid, connection.password = address.user, address.password
    alternates = [
        read_url(url).as_url(one_host=True) if "://" in url else url
        for url in map(str, connection.alt or [])
    ]
    if alternates != connection.alt:
        connection.alt = alternates
        strategy: Any = connection.failover_strategy
        connection.cycle = strategy(alternates)
        next(connection.cycle)
