"""Redis clients whose every command ends in bounded time."""

import asyncio
from typing import Any
from urllib.parse import urlsplit

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.retry import Retry

from respond_async.settings import Settings
from ws_hub import connect, connect_async, parse_servers

_WORKER_ATTEMPTS = 5
# Some 40 s: Sentinel takes a master for dead after 30 s by default.
_WORKER_ATTEMPTS_UNTIL_A_FAILOVER = 24
_WORKER_LONGEST_WAIT_SECONDS = 2.0


class AppRedis:
    """The app's client: one for each event loop, made at first use.

    A command is tried twice at most, and again only where the connection was lost, as every one in
    the pool is once Redis has restarted. Otherwise a request waits for no retry: its client is
    told 503 and comes again. So every command must bear to be done twice. A connection belongs to
    its event loop, so another loop (tests, a second server in the process) gets another client.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client: redis.asyncio.Redis | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def client(self) -> redis.asyncio.Redis:
        """The client of the running event loop."""
        loop = asyncio.get_running_loop()
        if self._client is None or self._loop is not loop:
            self._client = connect_async(
                self._settings.redis_url,
                retry=AsyncRetry(NoBackoff(), 1, (redis.ConnectionError,)),
                **_timeouts(self._settings),
            )
            self._loop = loop
        return self._client

    async def close(self) -> None:
        """Closes the running loop's connections; the next use opens new ones."""
        client, self._client = self._client, None
        if client is not None and self._loop is asyncio.get_running_loop():
            await client.aclose()


def worker_redis(settings: Settings) -> redis.Redis:
    """The worker's client: rides out a restart of Redis of some seconds.

    It connects at the first command, and redis-py's pool drops connections that a fork copied.
    """
    return connect(
        settings.redis_url, retry=Retry(_backoff(), _attempts(settings)), **_timeouts(settings)
    )


def worker_redis_on_loop(settings: Settings) -> redis.asyncio.Redis:
    """The same for the asyncio pool's event loop."""
    return connect_async(
        settings.redis_url, retry=AsyncRetry(_backoff(), _attempts(settings)), **_timeouts(settings)
    )


def app_blocking_redis(settings: Settings) -> redis.Redis:
    """The app's client for threads; as `AppRedis` it waits for no retry but of a lost connection."""
    return connect(
        settings.redis_url,
        retry=Retry(NoBackoff(), 1, (redis.ConnectionError,)),
        **_timeouts(settings),
    )


def result_backend(settings: Settings) -> dict[str, Any]:
    """Celery's own settings for results in the Redis of REDIS_URL.

    Celery writes Sentinel's servers as `sentinel://host:26379/0;sentinel://host2:26379/0`, with the
    master's name in its transport options. It has no backend for a Redis Cluster.
    """
    servers = parse_servers(settings.redis_url)
    if servers.kind != "sentinel":
        return {"result_backend": settings.redis_url}
    parts = urlsplit(servers.url)
    login, at, _ = parts.netloc.rpartition("@")
    urls = (f"sentinel://{login}{at}{host}:{port}{parts.path}" for host, port in servers.hosts)
    timeouts = ("socket_connect_timeout", "socket_timeout")
    login_to_sentinels = dict(servers.sentinel_login)
    return {
        "result_backend": ";".join(urls),
        "result_backend_transport_options": {
            "master_name": servers.master,
            "sentinel_kwargs": dict.fromkeys(timeouts, settings.redis_timeout_seconds)
            | login_to_sentinels,
        },
    }


def _attempts(settings: Settings) -> int:
    watched = parse_servers(settings.redis_url).kind == "sentinel"
    return _WORKER_ATTEMPTS_UNTIL_A_FAILOVER if watched else _WORKER_ATTEMPTS


def _backoff() -> ExponentialBackoff:
    return ExponentialBackoff(cap=_WORKER_LONGEST_WAIT_SECONDS, base=0.1)


def _timeouts(settings: Settings) -> dict[str, Any]:
    return {
        "socket_connect_timeout": settings.redis_timeout_seconds,
        "socket_timeout": settings.redis_timeout_seconds,
        "health_check_interval": 30,
    }
