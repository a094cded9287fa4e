"""One Redis pub/sub connection for all of a process's sockets."""

import asyncio
import logging
import random
from collections import Counter
from typing import Any, Final, Literal, Protocol

import redis.asyncio
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from ws_hub.cancelling import cancel_all
from ws_hub.errors import BadMessage, SubscriptionTimeout
from ws_hub.protocol import HUBS, channel_of_redis, redis_channel
from ws_hub.published import Published, parse_published

logger = logging.getLogger(__name__)

_CONNECT_TIMEOUT_SECONDS: Final = 5.0
_FIRST_DELAY_SECONDS: Final = 0.1
_LONGEST_DELAY_SECONDS: Final = 3.0
# Names in one SUBSCRIBE: keeps Redis from working long on one command after a reconnect.
_CHANNELS_PER_COMMAND: Final = 500

_Command = tuple[Literal["subscribe", "unsubscribe", "ping"], str]


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
    - `_unanswered`: SUBSCRIBEs of this connection that Redis has not answered, by channel. A
      channel is confirmed once this is zero and not before: with subscribe, unsubscribe and
      subscribe in flight, the first answer says nothing about the last.
    - `_confirmed`: channels with listeners whose messages arrive now.
    - `_missed`: channels confirmed on a former connection and not yet on this one.

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
        self._redis_url = redis_url
        self._silence_seconds = silence_seconds
        self._listeners: dict[str, set[Listener]] = {}
        self._confirmations: dict[str, asyncio.Event] = {}
        self._confirmed: set[str] = set()
        self._missed: set[str] = set()
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
        """Closes the connection. Listeners stay, for a later `start`."""
        task, self._task = self._task, None
        if task is not None:
            await cancel_all([task])

    async def subscribe(
        self, channel: str, listener: Listener, *, timeout_seconds: float = 10.0
    ) -> None:
        """Returns once Redis confirmed: what is published from then on reaches `listener`.

        Raises:
            SubscriptionTimeout: Redis did not confirm in time; the listener is not kept.
        """
        if channel not in self._listeners:
            self._listeners[channel] = set()
            self._command("subscribe", channel)
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
            self._command("unsubscribe", channel)

    async def _run(self) -> None:
        while True:
            try:
                await self._one_connection()
            except RedisError as failure:
                self._failures += 1
                if self._failures == 1:
                    logger.warning("Redis connection lost, reconnecting: %s", failure)
            except Exception:
                # Sockets depend on this task: whatever happened, it goes on.
                self._failures += 1
                logger.exception("Redis subscriber failed, reconnecting")
            await asyncio.sleep(_delay_seconds(self._failures))

    async def _one_connection(self) -> None:
        async with redis.asyncio.from_url(
            self._redis_url,
            socket_connect_timeout=_CONNECT_TIMEOUT_SECONDS,
            # Of handshake and sending; reading has its own, in `_read`.
            socket_timeout=_CONNECT_TIMEOUT_SECONDS,
            socket_keepalive=True,
            # Reconnecting is done here and not by redis-py, which would hide that
            # messages were missed.
            retry=Retry(NoBackoff(), 0),
            health_check_interval=0,
        ) as client:
            pubsub = client.pubsub()
            tasks: set[asyncio.Task[None]] = set()
            try:
                # First and always, so that the connection is one of pub/sub even without sockets.
                await pubsub.subscribe(redis_channel(HUBS))
                commands = self._commands = asyncio.Queue()
                for channel in self._listeners:
                    self._command("subscribe", channel)
                tasks = {
                    asyncio.create_task(self._read(pubsub)),
                    asyncio.create_task(_send(pubsub, commands)),
                }
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            finally:
                self._lost()
                await cancel_all(tasks)
                await pubsub.aclose()  # type: ignore[no-untyped-call] # redis-py has no types here

    def _lost(self) -> None:
        self._commands = None
        self._missed |= self._confirmed
        self._confirmed.clear()
        self._unanswered.clear()

    def _command(self, name: Literal["subscribe", "unsubscribe", "ping"], channel: str) -> None:
        """Hands a command to the connection; without one, the next subscribes to all there is."""
        if self._commands is None:
            return
        if name == "subscribe":
            self._unanswered[channel] += 1
        self._commands.put_nowait((name, channel))

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
            else:
                pinged = True
                self._command("ping", "")

    def _dispatch(self, message: dict[str, Any]) -> None:
        if message["type"] not in {"subscribe", "message"}:
            return
        channel = channel_of_redis(message["channel"].decode())
        if message["type"] == "subscribe":
            self._answered(channel)
            return
        try:
            published = parse_published(channel, message["data"])
        except BadMessage as wrong:
            logger.warning("dropped what was published to a channel of the hub: %s", wrong)
            return
        if channel == HUBS:
            if self._control is not None:
                self._control.deliver(published)
            return
        for listener in tuple(self._listeners.get(channel, ())):
            listener.deliver(published)

    def _answered(self, channel: str) -> None:
        if channel == HUBS:
            if self._failures:
                logger.info("Redis connection is back")
                if self._control is not None:
                    self._control.resubscribed()
            self._failures = 0
            return
        self._unanswered[channel] -= 1
        if self._unanswered[channel] > 0:
            return
        del self._unanswered[channel]
        if channel not in self._listeners:
            return
        self._confirmed.add(channel)
        confirmation = self._confirmations.pop(channel, None)
        if confirmation is not None:
            confirmation.set()
        if channel in self._missed:
            self._missed.discard(channel)
            for listener in tuple(self._listeners[channel]):
                listener.resubscribed()


async def _send(pubsub: PubSub, commands: asyncio.Queue[_Command]) -> None:
    """Sends in order, neighbours of one kind as one command.

    A task of its own: redis-py closes the connection when a command is cancelled half sent, and
    a socket's task may be cancelled any time.
    """
    name, channel = await commands.get()
    while True:
        channels = [redis_channel(channel)]
        following: _Command | None = None
        while not commands.empty() and len(channels) < _CHANNELS_PER_COMMAND:
            following = commands.get_nowait()
            if following[0] != name or name == "ping":
                break
            channels.append(redis_channel(following[1]))
            following = None
        match name:
            case "subscribe":
                await pubsub.subscribe(*channels)
            case "unsubscribe":
                await pubsub.unsubscribe(*channels)
            case "ping":
                await pubsub.ping()
        name, channel = following or await commands.get()


def _delay_seconds(failures: int) -> float:
    """Doubles from 0.1 s to 3 s; half of it random, so that hubs do not return all at once."""
    longest = min(_LONGEST_DELAY_SECONDS, _FIRST_DELAY_SECONDS * 2.0 ** min(failures, 16))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, hides nothing
