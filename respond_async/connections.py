"""Redis clients whose every command ends in bounded time."""

import asyncio
from typing import Any

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.retry import Retry

from respond_async.settings import Settings

_WORKER_ATTEMPTS = 5
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
            self._client = redis.asyncio.Redis.from_url(
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
    return redis.Redis.from_url(
        settings.redis_url, retry=Retry(_backoff(), _WORKER_ATTEMPTS), **_timeouts(settings)
    )


def worker_redis_on_loop(settings: Settings) -> redis.asyncio.Redis:
    """The same for the asyncio pool's event loop."""
    return redis.asyncio.Redis.from_url(
        settings.redis_url, retry=AsyncRetry(_backoff(), _WORKER_ATTEMPTS), **_timeouts(settings)
    )


def app_blocking_redis(settings: Settings) -> redis.Redis:
    """The app's client for threads; as `AppRedis` it waits for no retry but of a lost connection."""
    return redis.Redis.from_url(
        settings.redis_url,
        retry=Retry(NoBackoff(), 1, (redis.ConnectionError,)),
        **_timeouts(settings),
    )


def _backoff() -> ExponentialBackoff:
    return ExponentialBackoff(cap=_WORKER_LONGEST_WAIT_SECONDS, base=0.1)


def _timeouts(settings: Settings) -> dict[str, Any]:
    return {
        "socket_connect_timeout": settings.redis_timeout_seconds,
        "socket_timeout": settings.redis_timeout_seconds,
        "health_check_interval": 30,
    }
