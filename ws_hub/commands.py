"""The hub's connection for commands, beside that for pub/sub; in a cluster one to each shard."""

import asyncio
from typing import Any, Final

from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AskError, ClusterDownError, MovedError, TryAgainError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from ws_hub.lua import Argument, SharedPipeline
from ws_hub.servers import Servers, connect_async, connect_node, parse_servers
from ws_hub.shards import Node, Shards

_TIMEOUT_SECONDS: Final = 5.0


def commands(redis_url: str) -> "SharedPipeline | ClusterCommands":
    """The hub's commands; every one ends in bounded time.

    Args:
        redis_url: Where Redis is.
    """
    servers = parse_servers(redis_url)
    if servers.kind == "cluster":
        return ClusterCommands(redis_url, servers)
    return SharedPipeline(lambda: connect_async(redis_url, **_options()))


class ClusterCommands:
    """A round trip under way for each shard, so that nobody waits for one that is away.

    redis-py's cluster client has one pipeline for all shards, and begins anew with all of them when
    one is lost. It does here what a map that is out of date got wrong.

    Args:
        redis_url: The cluster.
        servers: The same.
    """

    def __init__(self, redis_url: str, servers: Servers) -> None:
        self._servers: Final = servers
        self._shards: Final = Shards(servers, self._settle, **_options())
        self._nodes: dict[Node, SharedPipeline] = {}
        self._redirected: Final = SharedPipeline(lambda: connect_async(redis_url, **_options()))

    async def execute_command(self, *command: Argument) -> Any:
        """Redis' answer.

        Raises:
            redis.RedisError: The key's shard did not answer, or the command is wrong.
        """
        self._shards.start()
        key = command[3] if command[0] in ("EVAL", "EVALSHA") else command[1]
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                await self._shards.known()
        except TimeoutError:
            raise RedisConnectionError("no node of the Redis Cluster answers") from None
        node = self._shards.node_of(str(key))
        if node is None:
            self._shards.look()
            raise ClusterDownError("no node of the Redis Cluster has the slot now")
        try:
            return await self._of(node).execute_command(*command)
        except (MovedError, AskError, TryAgainError):
            self._shards.look()
            return await self._redirected.execute_command(*command)
        except (RedisConnectionError, RedisTimeoutError):
            self._shards.look()
            raise

    async def close(self) -> None:
        """Closes the connections; the next command opens others."""
        await self._shards.stop()
        for pipeline in (self._redirected, *self._nodes.values()):
            await pipeline.close()

    async def _settle(self, nodes: set[Node]) -> None:
        for node in self._nodes.keys() - nodes:
            await self._nodes.pop(node).close()

    def _of(self, node: Node) -> SharedPipeline:
        if node not in self._nodes:
            self._nodes[node] = SharedPipeline(
                lambda: connect_node(self._servers, *node, **_options())
            )
        return self._nodes[node]


def _options() -> dict[str, Any]:
    return {
        "socket_connect_timeout": _TIMEOUT_SECONDS,
        "socket_timeout": _TIMEOUT_SECONDS,
        "retry": Retry(NoBackoff(), 1, (RedisConnectionError,)),
    }
