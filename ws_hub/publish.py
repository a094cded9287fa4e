"""Publishing to a channel, from any process that reaches the hub's Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ws_hub.protocol import encode, redis_channel

if TYPE_CHECKING:
    from collections.abc import Mapping

    from redis import Redis
    from redis.asyncio import Redis as AsyncRedis


def publish(client: Redis, channel: str, message: Mapping[str, Any]) -> int:
    """Publishes `message` to everyone who listens on `channel` now; nobody else ever gets it.

    Args:
        client: A Redis client of the caller's.
        channel: The internal name, from `user_channel` or `anonymous_channel`.
        message: For instance `completed(task_id)`.

    Returns:
        How many hub processes took it (each serves any number of sockets).

    Raises:
        redis.RedisError: Redis did not take it.
    """
    return client.publish(redis_channel(channel), encode(message))


async def publish_async(client: AsyncRedis, channel: str, message: Mapping[str, Any]) -> int:
    """`publish` for asyncio.

    Raises:
        redis.RedisError: Redis did not take it.
    """
    return await client.publish(redis_channel(channel), encode(message))
