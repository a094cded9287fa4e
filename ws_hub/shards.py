"""Which node of a Redis Cluster has what: looked at when something moved, and now and then."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

from redis.crc import key_slot
from redis.exceptions import RedisError

from ws_hub.cancelling import cancel_all
from ws_hub.servers import Servers, connect_node

logger = logging.getLogger(__name__)

#: A host and a port.
Node = tuple[str, int]

_EVERY_SECONDS: Final = 30.0
# A slot that moves is said by as many messages as it has channels.
_PAUSE_SECONDS: Final = 0.2


class Shards:
    """Keeps the map of slots to masters.

    Args:
        servers: The cluster.
        settle: Called with the masters whenever the map was looked at.
        options: Of the connections.
    """

    def __init__(
        self, servers: Servers, settle: Callable[[set[Node]], Awaitable[None]], **options: Any
    ) -> None:
        self._servers: Final = servers
        self._settle: Final = settle
        self._options: Final = options
        self._ranges: list[tuple[int, int, Node]] = []
        self._known: list[Node] = list(servers.hosts)
        self._task: asyncio.Task[None] | None = None
        self._wake: asyncio.Event | None = None
        self._first: asyncio.Event | None = None

    def start(self) -> None:
        """Looks at the map in the background of the running loop, unless it does so already."""
        if self._task is None or self._task.done():
            self._wake, self._first = asyncio.Event(), asyncio.Event()
            self._task = asyncio.create_task(self._run(self._wake), name="ws_hub shards")

    async def stop(self) -> None:
        """Looks no more."""
        task, self._task = self._task, None
        if task is not None:
            await cancel_all([task])

    def look(self) -> None:
        """Has the map looked at soon."""
        if self._wake is not None:
            self._wake.set()

    async def known(self) -> None:
        """Returns once the map was read."""
        if not self._ranges and self._first is not None:
            await self._first.wait()

    def node_of(self, key: str) -> Node | None:
        """The master of a key's or Redis channel's slot; None where it is not known, or there is none."""
        slot = key_slot(key.encode())
        return next((node for first, last, node in self._ranges if first <= slot <= last), None)

    async def _run(self, wake: asyncio.Event) -> None:
        while True:
            wake.clear()
            try:
                await self._look()
            except (RedisError, OSError) as failure:
                logger.warning("no node of the Redis Cluster says which has what: %s", failure)
                wake.set()
            except Exception:
                logger.exception("the map of the Redis Cluster was not read")
            await asyncio.sleep(_PAUSE_SECONDS)
            with suppress(TimeoutError):
                async with asyncio.timeout(_EVERY_SECONDS):
                    await wake.wait()

    async def _look(self) -> None:
        failure: Exception | None = None
        for node in self._known:
            try:
                ranges = await self._ask(node)
            except (RedisError, OSError) as error:
                failure = error
                continue
            if ranges:
                self._ranges = ranges
                break
        else:
            raise failure or RedisError("it has no slots")
        if self._first is not None:
            self._first.set()
        masters = {node for _, _, node in self._ranges}
        # Another one first each time: one that is cut off from the rest has an old map. In the end
        # what the URL names, which may be names that outlive addresses.
        shuffled = random.sample(sorted(masters), len(masters))
        self._known = list(dict.fromkeys([*shuffled, *self._servers.hosts]))
        await self._settle(masters)

    async def _ask(self, node: Node) -> list[tuple[int, int, Node]]:
        async with connect_node(self._servers, *node, **self._options) as client:
            connection: Any = client
            answer = await connection.execute_command("CLUSTER SLOTS")
        return [
            # A node that does not know its own name says '': the one by which it was asked.
            (int(first), int(last), ((master[0] or b"").decode() or node[0], int(master[1])))
            for first, last, master, *_ in answer
        ]
