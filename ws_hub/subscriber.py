"""One Redis pub/sub connection for all of a process's sockets; in a cluster, one to each shard."""

import asyncio
import logging
from collections.abc import Iterable
from typing import Any, Final, Protocol

from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from ws_hub.errors import SubscriptionTimeout
from ws_hub.links import Link
from ws_hub.protocol import redis_channel
from ws_hub.published import Published
from ws_hub.servers import connect_async, connect_node, parse_servers
from ws_hub.shards import Node, Shards

logger = logging.getLogger(__name__)

_CONNECT_TIMEOUT_SECONDS: Final = 5.0


class Listener(Protocol):
    """Who hears a channel. Both methods are called on the event loop and must not block."""

    def deliver(self, published: Published) -> None:
        """Takes a published message."""

    def resubscribed(self) -> None:
        """Hears that messages may have been missed while Redis was away, and no longer are."""


class Subscriber:
    """Subscribes while somebody listens; outlives Redis going away and coming back.

    Everything runs on one event loop. What is kept:

    - `_listeners`: who wants which channel; a channel is in it only with a listener. It survives
      a lost connection, and is what the next one subscribes to.
    - `_confirmed`: channels with listeners whose messages arrive now.
    - `_missed`: channels confirmed on a former connection and not yet on this one.
    - `_homes`, in a cluster: which shard a channel is subscribed at.

    Args:
        redis_url: Where Redis is.
        silence_seconds: After that long without a word Redis is pinged, and after as long again
            the connection is taken for lost (a host that vanished closes nothing).
        control: Hears what concerns all hubs.
    """

    def __init__(
        self, redis_url: str, *, silence_seconds: float = 10.0, control: Listener | None = None
    ) -> None:
        self._control = control
        self._redis_url: Final = redis_url
        self._servers: Final = parse_servers(redis_url)
        self._silence_seconds: Final = silence_seconds
        self._listeners: dict[str, set[Listener]] = {}
        self._confirmations: dict[str, asyncio.Event] = {}
        self._confirmed: set[str] = set()
        self._missed: set[str] = set()
        self._homes: dict[str, Link] = {}
        self._links: dict[Node, Link] = {}
        self._only: Link | None = None
        self._shards: Shards | None = None
        if self._servers.kind == "cluster":
            self._shards = Shards(self._servers, self._settle, **_options())
        else:
            self._only = self._link(lambda: connect_async(redis_url, **_options()), sharded=False)

    def start(self) -> None:
        """Connects in the background of the running loop; does nothing if it does so already."""
        if self._only is not None:
            self._only.start()
        if self._shards is not None:
            self._shards.start()
            for link in self._links.values():
                link.start()

    async def stop(self) -> None:
        """Closes the connections. Listeners stay, for a later `start`."""
        if self._shards is not None:
            await self._shards.stop()
        links = list(self._links.values())
        for link in links if self._only is None else [self._only]:
            await link.stop()

    async def subscribe(
        self, channel: str, listener: Listener, *, timeout_seconds: float = 10.0
    ) -> None:
        """Returns once Redis confirmed: what is published from then on reaches `listener`.

        Raises:
            SubscriptionTimeout: Redis did not confirm in time; the listener is not kept.
        """
        if channel not in self._listeners:
            self._listeners[channel] = set()
            if self._shards is not None:
                self._place(channel)
            elif self._only is not None:
                self._only.command("subscribe", channel)
        self._listeners[channel].add(listener)
        if channel in self._confirmed:
            return
        confirmation = self._confirmations.setdefault(channel, asyncio.Event())
        try:
            async with asyncio.timeout(timeout_seconds):
                await confirmation.wait()
        except BaseException as ended:
            self.unsubscribe(channel, listener)
            if isinstance(ended, TimeoutError):
                message = f"Redis did not confirm a subscription within {timeout_seconds:g} s"
                raise SubscriptionTimeout(message) from None
            raise

    def unsubscribe(self, channel: str, listener: Listener) -> None:
        """`listener` hears no more; with the last one Redis is told. Unknown ones are ignored."""
        listeners = self._listeners.get(channel)
        if listeners is None:
            return
        listeners.discard(listener)
        if not listeners:
            del self._listeners[channel]
            self._confirmations.pop(channel, None)
            self._confirmed.discard(channel)
            self._missed.discard(channel)
            link = self._homes.pop(channel, self._only)
            if link is not None:
                link.command("unsubscribe", channel)

    def wanted(self, link: Link) -> Iterable[str]:
        """As `links.Owner`."""
        if self._shards is None:
            return self._listeners
        return [channel for channel, home in self._homes.items() if home is link]

    def confirmed(self, link: Link, channel: str) -> None:
        """As `links.Owner`."""
        if channel not in self._listeners or self._homes.get(channel, self._only) is not link:
            return
        self._confirmed.add(channel)
        confirmation = self._confirmations.pop(channel, None)
        if confirmation is not None:
            confirmation.set()
        if channel in self._missed:
            self._missed.discard(channel)
            for listener in tuple(self._listeners[channel]):
                listener.resubscribed()

    def published(self, channel: str, published: Published) -> None:
        """As `links.Owner`."""
        for listener in tuple(self._listeners.get(channel, ())):
            listener.deliver(published)

    def told(self, published: Published) -> None:
        """As `links.Owner`."""
        if self._control is not None:
            self._control.deliver(published)

    def up(self, *, again: bool) -> None:
        """As `links.Owner`."""
        if again and self._control is not None:
            self._control.resubscribed()

    def lost(self, link: Link) -> None:
        """As `links.Owner`."""
        if self._shards is None:
            self._missed |= self._confirmed
            self._confirmed.clear()
            return
        self._unconfirm(channel for channel, home in self._homes.items() if home is link)

    def dropped(self, link: Link, channel: str) -> None:
        """As `links.Owner`."""
        if self._homes.get(channel) is link:
            del self._homes[channel]
            self._unconfirm([channel])
            self.unsettled()

    def unsettled(self) -> None:
        """As `links.Owner`."""
        if self._shards is not None:
            self._shards.look()

    def _link(self, connect: Any, *, sharded: bool) -> Link:
        return Link(connect, self, silence_seconds=self._silence_seconds, sharded=sharded)

    def _unconfirm(self, channels: Iterable[str]) -> None:
        lost = self._confirmed.intersection(channels)
        self._missed |= lost
        self._confirmed -= lost

    async def _settle(self, nodes: set[Node]) -> None:
        """Connects to a cluster's shards as they are now, and moves the channels that moved."""
        for node in nodes - self._links.keys():
            self._links[node] = self._link(self._connector(node), sharded=True)
            self._links[node].start()
        for channel in self._listeners:
            self._place(channel)
        for node in self._links.keys() - nodes:
            await self._links.pop(node).stop()

    def _place(self, channel: str) -> None:
        assert self._shards is not None
        node = self._shards.node_of(redis_channel(channel))
        link = None if node is None else self._links.get(node)
        # Where no shard has the slot now it stays: the map is looked at again.
        if link is None or self._homes.get(channel) is link:
            return
        # The node that had it drops it by itself.
        self._unconfirm([channel])
        self._homes[channel] = link
        link.command("subscribe", channel)

    def _connector(self, node: Node) -> Any:
        return lambda: connect_node(self._servers, *node, **_options())


def _options() -> dict[str, Any]:
    return {
        "socket_connect_timeout": _CONNECT_TIMEOUT_SECONDS,
        # Of handshake and sending; reading has its own, in `Link`.
        "socket_timeout": _CONNECT_TIMEOUT_SECONDS,
        "socket_keepalive": True,
        # Reconnecting is done here and not by redis-py, which would hide that messages were missed.
        "retry": Retry(NoBackoff(), 0),
        "health_check_interval": 0,
    }
