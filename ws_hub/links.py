"""One pub/sub connection to one Redis server, made again whenever it is lost."""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Final, Literal, Protocol

import redis.asyncio
from redis.asyncio.client import PubSub
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import MovedError, RedisError

from ws_hub.cancelling import cancel_all
from ws_hub.counts import COUNTS
from ws_hub.errors import BadMessage
from ws_hub.protocol import HUBS, channel_of_redis, redis_channel
from ws_hub.published import Published, parse_published

logger = logging.getLogger(__name__)

_FIRST_DELAY_SECONDS: Final = 0.1
_LONGEST_DELAY_SECONDS: Final = 3.0
# Names in one SUBSCRIBE: keeps Redis from working long on one command after a reconnect.
_CHANNELS_PER_COMMAND: Final = 500

_Command = tuple[Literal["subscribe", "unsubscribe", "ping"], str]


class Owner(Protocol):
    """Whom a link serves. Nothing of it may block."""

    def wanted(self, link: "Link") -> Iterable[str]:
        """The channels that the link should carry."""

    def confirmed(self, link: "Link", channel: str) -> None:
        """What is published to the channel arrives from now on."""

    def published(self, channel: str, published: Published) -> None:
        """Takes a message."""

    def told(self, published: Published) -> None:
        """Takes what concerns all hubs; in a cluster once from each node."""

    def up(self, *, again: bool) -> None:
        """The connection stands; `again`: after one that was lost."""

    def lost(self, link: "Link") -> None:
        """Nothing arrives any more, until channels are confirmed again."""

    def dropped(self, link: "Link", channel: str) -> None:
        """A node of a cluster carries a channel no more."""

    def unsettled(self) -> None:
        """Which node of a cluster has what may have changed."""


class Link:
    """Runs on one event loop.

    `_unanswered`: SUBSCRIBEs of this connection that Redis has not answered, by channel. A channel
    is confirmed once this is zero and not before: with subscribe, unsubscribe and subscribe in
    flight, the first answer says nothing about the last.

    Args:
        connect: Makes the client.
        owner: Hears of everything.
        silence_seconds: After that long without a word Redis is pinged, and after as long again
            the connection is taken for lost (a host that vanished closes nothing).
        sharded: The server is a node of a cluster, and channels are in slots (SSUBSCRIBE).
    """

    def __init__(
        self,
        connect: Callable[[], redis.asyncio.Redis],
        owner: Owner,
        *,
        silence_seconds: float,
        sharded: bool,
    ) -> None:
        self._connect: Final = connect
        self._owner: Final = owner
        self._silence_seconds = silence_seconds
        self._sharded: Final = sharded
        self._unanswered: Counter[str] = Counter()
        self._commands: asyncio.Queue[_Command] | None = None
        self._task: asyncio.Task[None] | None = None
        self._failures = 0

    def start(self) -> None:
        """Connects in the background of the running loop; does nothing if it does so already."""
        # Done: the loop it ran on has ended, and an app may be run on another one later.
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="ws_hub subscriber")

    async def stop(self) -> None:
        """Closes the connection."""
        task, self._task = self._task, None
        if task is not None:
            await cancel_all([task])

    def command(self, name: Literal["subscribe", "unsubscribe"], channel: str) -> None:
        """Hands a command to the connection; without one, the next subscribes to all there is."""
        if self._commands is None:
            return
        if name == "subscribe":
            self._unanswered[channel] += 1
        self._commands.put_nowait((name, channel))

    async def _run(self) -> None:
        while True:
            try:
                await self._one_connection()
            except MovedError:
                # Subscribed where the channel is no more: all anew, by a newer map.
                self._failures += 1
            except (RedisError, OSError) as failure:
                self._failures += 1
                if self._failures == 1:
                    logger.warning("Redis connection lost, reconnecting: %s", failure)
            except Exception:
                # Sockets depend on this task: whatever happened, it goes on.
                self._failures += 1
                logger.exception("Redis subscriber failed, reconnecting")
            self._owner.unsettled()
            await asyncio.sleep(delay_seconds(self._failures))

    async def _one_connection(self) -> None:
        async with self._connect() as client:
            pubsub = client.pubsub()
            tasks: set[asyncio.Task[None]] = set()
            try:
                # First and always, so that the connection is one of pub/sub even without sockets.
                await pubsub.subscribe(redis_channel(HUBS))
                commands = self._commands = asyncio.Queue()
                for channel in self._owner.wanted(self):
                    self.command("subscribe", channel)
                tasks = {
                    asyncio.create_task(self._read(pubsub)),
                    asyncio.create_task(_send(pubsub, commands, sharded=self._sharded)),
                }
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            finally:
                self._commands = None
                self._unanswered.clear()
                self._owner.lost(self)
                await cancel_all(tasks)
                await pubsub.aclose()  # type: ignore[no-untyped-call] # redis-py has no types here

    async def _read(self, pubsub: PubSub) -> None:
        pinged = False
        while True:
            message = await pubsub.get_message(timeout=self._silence_seconds)
            if message is not None:
                pinged = False
                self._dispatch(message)
                # Messages that wait in the buffer are read without a real await: give the
                # sockets' writers a turn between them.
                await asyncio.sleep(0)
            elif pinged:
                silence = f"no answer to PING within {self._silence_seconds:g} s"
                raise RedisConnectionError(silence)
            elif self._commands is not None:
                pinged = True
                self._commands.put_nowait(("ping", ""))

    def _dispatch(self, message: dict[str, Any]) -> None:
        match message["type"]:
            case "message" | "smessage":
                channel = channel_of_redis(message["channel"].decode())
                try:
                    published = parse_published(channel, message["data"])
                except BadMessage as wrong:
                    logger.warning("dropped what was published to a channel of the hub: %s", wrong)
                    return
                if channel == HUBS:
                    self._owner.told(published)
                else:
                    self._owner.published(channel, published)
            case "subscribe" | "ssubscribe":
                self._answered(channel_of_redis(message["channel"].decode()))
            case "sunsubscribe":
                # Unasked where the slot has moved to another node.
                channel = channel_of_redis(message["channel"].decode())
                if not self._unanswered[channel]:
                    self._owner.dropped(self, channel)

    def _answered(self, channel: str) -> None:
        if channel == HUBS:
            if self._failures:
                logger.info("Redis connection is back")
                COUNTS.redis_reconnections += 1
            self._owner.up(again=self._failures > 0)
            self._failures = 0
            return
        self._unanswered[channel] -= 1
        if self._unanswered[channel] <= 0:
            del self._unanswered[channel]
            self._owner.confirmed(self, channel)


async def _send(pubsub: PubSub, commands: asyncio.Queue[_Command], *, sharded: bool) -> None:
    """Sends in order, neighbours of one kind as one command.

    A task of its own: redis-py closes the connection when a command is cancelled half sent, and
    a socket's task may be cancelled any time.
    """
    subscribe = pubsub.ssubscribe if sharded else pubsub.subscribe
    unsubscribe = pubsub.sunsubscribe if sharded else pubsub.unsubscribe
    # Redis takes the channels of one slot in one SSUBSCRIBE.
    most = 1 if sharded else _CHANNELS_PER_COMMAND
    name, channel = await commands.get()
    while True:
        channels = [redis_channel(channel)]
        following: _Command | None = None
        while not commands.empty() and len(channels) < most:
            following = commands.get_nowait()
            if following[0] != name or name == "ping":
                break
            channels.append(redis_channel(following[1]))
            following = None
        match name:
            case "subscribe":
                await subscribe(*channels)
            case "unsubscribe":
                await unsubscribe(*channels)
            case "ping":
                await pubsub.ping()
        name, channel = following or await commands.get()


def delay_seconds(failures: int) -> float:
    """Doubles from 0.1 s to 3 s; half of it random, so that hubs do not return all at once."""
    longest = min(_LONGEST_DELAY_SECONDS, _FIRST_DELAY_SECONDS * 2.0 ** min(failures, 16))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, hides nothing
