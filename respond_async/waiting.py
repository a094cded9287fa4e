"""Waiting for a request's end without asking again and again.

The worker publishes the end to the owner's channel, for the hub; whoever waits for a result here
hears it on the same channel, over one connection to Redis for the whole event loop.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar
from weakref import WeakKeyDictionary

from ws_hub import Published, Subscriber, SubscriptionTimeout

T = TypeVar("T")


class Waits:
    """Wakes those who wait for the end of requests.

    Args:
        redis_url: Where the completions are published.
    """

    def __init__(self, redis_url: str) -> None:
        self._redis_url: Final = redis_url
        # A test's app and the test itself may each have a loop, and tasks end on their own alone.
        self._subscribers: Final = WeakKeyDictionary[asyncio.AbstractEventLoop, Subscriber]()

    async def until(
        self,
        channel: str,
        task_id: str,
        seconds: float,
        look: Callable[[], Awaitable[T | None]],
    ) -> T | None:
        """What `look` finds, at once or as soon as the request has ended; None after `seconds`.

        Args:
            channel: The internal name of the owner's channel.
            task_id: What is waited for.
            seconds: How long at most.
            look: Reads the result; called first, once nothing can be missed, and after news.
        """
        found = await look()
        if found is not None or seconds <= 0:
            return found
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        news = _News(task_id)
        # Nothing connects to Redis before somebody waits.
        subscriber = self._subscribers.get(loop)
        if subscriber is None:
            subscriber = self._subscribers[loop] = Subscriber(self._redis_url)
        subscriber.start()
        try:
            await subscriber.subscribe(channel, news, timeout_seconds=seconds)
        except SubscriptionTimeout:
            return await look()
        try:
            while True:
                # Cleared first: what is published from now on is heard.
                news.heard.clear()
                found = await look()
                if found is not None:
                    return found
                try:
                    async with asyncio.timeout_at(end):
                        await news.heard.wait()
                except TimeoutError:
                    return None
        finally:
            subscriber.unsubscribe(channel, news)

    async def close(self) -> None:
        """Closes the connection of the running loop; its next wait opens another."""
        subscriber = self._subscribers.pop(asyncio.get_running_loop(), None)
        if subscriber is not None:
            await subscriber.stop()


class _News:
    """Listens for one task on its owner's channel."""

    def __init__(self, task_id: str) -> None:
        self._task_id = task_id
        self.heard = asyncio.Event()

    def deliver(self, published: Published) -> None:
        # Not looked into: a false alarm costs one look.
        if self._task_id in published.text:
            self.heard.set()

    def resubscribed(self) -> None:
        self.heard.set()
