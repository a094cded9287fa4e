"""The hub's connection for commands, beside that for pub/sub."""

from typing import Final

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError

from ws_hub.lua import SharedPipeline
from ws_hub.servers import connect_async

_TIMEOUT_SECONDS: Final = 5.0


def commands(redis_url: str) -> SharedPipeline:
    """The hub's commands; every one ends in bounded time.

    Args:
        redis_url: Where Redis is.
    """

    def connect() -> redis.asyncio.Redis:
        return connect_async(
            redis_url,
            socket_connect_timeout=_TIMEOUT_SECONDS,
            socket_timeout=_TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), 1, (RedisConnectionError,)),
        )

    return SharedPipeline(connect)
