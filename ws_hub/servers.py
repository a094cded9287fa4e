"""Where Redis is: one server, the master of a set that Sentinel watches, or a cluster.

    redis://[user:password@]host:6379/0            rediss:// with TLS; unix:///path?db=0
    redis+sentinel://[user:password@]host:26379,host2:26379/mymaster/0
    redis+cluster://[user:password@]host:6379,host2:6379

Ports default to 26379 and 6379; `rediss+sentinel://` and `rediss+cluster://` are the same with TLS.
Sentinels with a password of their own have `?sentinel_password=` (and `sentinel_username`). What
else redis-py takes in the query of a URL is taken here too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, cast
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

if TYPE_CHECKING:
    import redis
    import redis.asyncio

#: What a URL of Redis may begin with.
SCHEMES: Final = (
    "redis://", "rediss://", "unix://",
    "redis+sentinel://", "rediss+sentinel://", "redis+cluster://", "rediss+cluster://",
)  # fmt: skip

_SEVERAL: Final = re.compile(r"(rediss?)\+(sentinel|cluster)://(?:([^/?#]*)@)?([^/?#@]+)(.*)")
_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:,]+)(?::([0-9]{1,5}))?")
_PORTS: Final = {"sentinel": 26379, "cluster": 6379}
_SENTINEL_OPTIONS: Final = ("sentinel_username", "sentinel_password")


@dataclass(frozen=True, slots=True)
class Servers:
    """A URL, taken apart."""

    kind: Literal["server", "sentinel", "cluster"]
    #: For one server the URL itself; else what redis-py would take for one of them, without host.
    url: str = field(repr=False)
    #: Sentinels, or some of a cluster's nodes.
    hosts: tuple[tuple[str, int], ...] = ()
    #: The name under which Sentinel knows the master.
    master: str = ""
    #: How the sentinels let in.
    sentinel_login: tuple[tuple[str, str], ...] = field(default=(), repr=False)


def parse_servers(url: str) -> Servers:
    """Where Redis is.

    Raises:
        ValueError: The URL is of none of the forms; the text never shows it, since it may hold a
            password.
    """
    if url.startswith(("redis://", "rediss://", "unix://")):
        return Servers("server", url)
    found = _SEVERAL.fullmatch(url)
    if found is None:
        raise ValueError(
            f"it must begin with {', '.join(SCHEMES[:-1])} or {SCHEMES[-1]}, and a host"
        )
    scheme, several, login, given, rest = found.groups()
    kind = cast('Literal["sentinel", "cluster"]', several)
    hosts = tuple(_host(one, _PORTS[kind]) for one in given.split(","))
    parts = urlsplit(rest)
    query = parse_qsl(parts.query)
    names = [unquote(one) for one in parts.path.split("/") if one]
    database = "0"
    if kind == "sentinel":
        names += ["0"] * (len(names) == 1)
        if len(names) != 2 or not names[1].isdecimal():  # noqa: PLR2004
            raise ValueError("redis+sentinel:// names the master: host:26379/mymaster/0")
        database = names[1]
    elif names not in ([], ["0"]):
        raise ValueError("a Redis Cluster has no databases: redis+cluster://host:6379")
    kept = urlencode([(name, value) for name, value in query if name not in _SENTINEL_OPTIONS])
    return Servers(
        kind,
        f"{scheme}://{login + '@' if login else ''}host/{database}{'?' + kept if kept else ''}",
        hosts,
        names[0] if kind == "sentinel" else "",
        tuple((n.removeprefix("sentinel_"), v) for n, v in query if n in _SENTINEL_OPTIONS),
    )


def connect(url: str, **options: Any) -> redis.Redis:
    """A client that blocks; a cluster's takes the same commands.

    Args:
        url: Where Redis is.
        options: What redis-py's clients and connections take.

    Raises:
        ValueError: The URL is none.
    """
    import redis.cluster
    import redis.sentinel

    servers = parse_servers(url)
    if servers.kind == "server":
        return redis.Redis.from_url(servers.url, **options)
    given = options | _options(servers)
    if servers.kind == "cluster":
        node: Any = redis.cluster.ClusterNode
        nodes = [node(host, port) for host, port in servers.hosts]
        cluster: Any = redis.cluster.RedisCluster(startup_nodes=nodes, **given)
        return cast("redis.Redis", cluster)
    make: Any = redis.sentinel.Sentinel
    sentinel = make(servers.hosts, sentinel_kwargs=_for_sentinels(servers, given))
    master: redis.Redis = sentinel.master_for(servers.master, **given)
    return master


def connect_async(url: str, **options: Any) -> redis.asyncio.Redis:
    """`connect` for asyncio.

    Raises:
        ValueError: The URL is none.
    """
    import redis.asyncio
    import redis.asyncio.cluster

    servers = parse_servers(url)
    if servers.kind == "server":
        return redis.asyncio.Redis.from_url(servers.url, **options)
    given = options | _options(servers)
    if servers.kind == "cluster":
        nodes = [redis.asyncio.cluster.ClusterNode(host, port) for host, port in servers.hosts]
        cluster: Any = redis.asyncio.cluster.RedisCluster(startup_nodes=nodes, **given)
        return cast("redis.asyncio.Redis", cluster)
    return _master(servers, given)


def connect_node(servers: Servers, host: str, port: int, **options: Any) -> redis.asyncio.Redis:
    """A client of one node of a cluster."""
    import redis.asyncio

    return redis.asyncio.Redis(host=host, port=port, **(options | _options(servers)))


def _master(servers: Servers, given: dict[str, Any]) -> redis.asyncio.Redis:
    import redis.asyncio.sentinel

    make: Any = redis.asyncio.sentinel.Sentinel
    sentinel = make(servers.hosts, sentinel_kwargs=_for_sentinels(servers, given))

    class Master(redis.asyncio.Redis):
        async def aclose(self, *args: Any, **kwargs: Any) -> None:
            # redis-py leaves the connections to the sentinels open.
            await super().aclose(*args, **kwargs)
            for one in sentinel.sentinels:
                await one.aclose()

    master: redis.asyncio.Redis = sentinel.master_for(servers.master, redis_class=Master, **given)
    return master


def _host(text: str, port: int) -> tuple[str, int]:
    found = _HOST.fullmatch(text)
    if found is None or int(found[2] or port) > 65535:  # noqa: PLR2004
        raise ValueError("its hosts are host:port,host:port")
    return found[1].strip("[]"), int(found[2] or port)


def _options(servers: Servers) -> dict[str, Any]:
    """What a URL says, as redis-py's clients take it."""
    from redis.connection import SSLConnection, parse_url

    options: dict[str, Any] = dict(parse_url(servers.url))  # type: ignore[no-untyped-call]
    options.pop("host", None)
    if servers.kind == "cluster":
        options.pop("db", None)
    if options.pop("connection_class", None) is SSLConnection:
        options["ssl"] = True
    return options


def _for_sentinels(servers: Servers, given: dict[str, Any]) -> dict[str, Any]:
    same = ("socket_connect_timeout", "socket_timeout", "ssl")
    kept = {name: value for name, value in given.items() if name in same or name.startswith("ssl_")}
    return kept | dict(servers.sentinel_login)
