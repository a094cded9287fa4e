"""Publishing to a channel, from any process that reaches the hub's Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ws_hub.history import PUBLISH, publication

if TYPE_CHECKING:
    from collections.abc import Mapping

    from redis import Redis
    from redis.asyncio import Redis as AsyncRedis

    from ws_hub.history import HistoryLimits


def publish(
    client: Redis,
    channel: str,
    message: Mapping[str, Any],
    *,
    limits: HistoryLimits | None = None,
    once: str | None = None,
) -> int:
    """Publishes `message` to who listens on `channel`, and keeps it for who comes back.

    The client may send it again when its connection was lost: it is published once all the same.

    Args:
        client: A Redis client of the caller's; of a cluster too, as `connect` makes it.
        channel: The internal name, from `user_channel` or `anonymous_channel`.
        message: For instance `completed(task_id)`.
        limits: How much history is kept. Default: `HistoryLimits()`.
        once: A name of this message, for callers that try again themselves: of several
            publications of one name soon after each other only the first counts.

    Returns:
        How many hub processes took it (each serves any number of sockets).

    Raises:
        redis.RedisError: Redis did not take it.
    """
    made = publication(channel, message, limits=limits, once=once, sharded=_is_cluster(client))
    took: int = PUBLISH.run(client, made.keys, made.args)
    return took


async def publish_async(
    client: AsyncRedis,
    channel: str,
    message: Mapping[str, Any],
    *,
    limits: HistoryLimits | None = None,
    once: str | None = None,
) -> int:
    """`publish` for asyncio.

    Raises:
        redis.RedisError: Redis did not take it.
    """
    made = publication(channel, message, limits=limits, once=once, sharded=_is_cluster(client))
    took: int = await PUBLISH.run_async(client, made.keys, made.args)
    return took


def _is_cluster(client: object) -> bool:
    from redis.cluster import AbstractRedisCluster

    return isinstance(client, AbstractRedisCluster)
