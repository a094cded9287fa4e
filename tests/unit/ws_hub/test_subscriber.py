"""The subscriber's bookkeeping, answer by answer; the real Redis is in the integration tests."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from ws_hub import Published, SubscriptionTimeout
from ws_hub.links import Link, delay_seconds
from ws_hub.subscriber import Subscriber


class Ear:
    def __init__(self) -> None:
        self.heard: list[str] = []

    def deliver(self, published: Published) -> None:
        self.heard.append(published.text)

    def resubscribed(self) -> None:
        self.heard.append("resubscribed")


def connected() -> Subscriber:
    subscriber = Subscriber("redis://nowhere")
    link_of(subscriber)._commands = asyncio.Queue()
    return subscriber


def link_of(subscriber: Subscriber) -> Link:
    assert subscriber._only is not None
    return subscriber._only


def subscribing(subscriber: Subscriber, ear: Ear) -> Coroutine[Any, Any, None]:
    return subscriber.subscribe("c", ear, timeout_seconds=5)


def test_the_answer_to_an_earlier_subscribe_does_not_confirm_the_later_one() -> None:
    async def scenario() -> None:
        subscriber, first, second = connected(), Ear(), Ear()
        leaving = asyncio.create_task(subscribing(subscriber, first))
        await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        coming = asyncio.create_task(subscribing(subscriber, second))
        await asyncio.sleep(0)
        # On the wire: subscribe, unsubscribe, subscribe. This answers the first of them.
        link_of(subscriber)._answered("c")
        await asyncio.sleep(0)
        assert not coming.done()
        link_of(subscriber)._answered("c")
        await coming

    asyncio.run(scenario())


def test_only_those_who_may_have_missed_something_are_told() -> None:
    async def scenario() -> None:
        subscriber, early, late = connected(), Ear(), Ear()
        waiting = asyncio.create_task(subscribing(subscriber, early))
        await asyncio.sleep(0)
        link_of(subscriber)._answered("c")
        await waiting
        assert early.heard == []
        subscriber.lost(link_of(subscriber))
        link_of(subscriber).command("subscribe", "c")
        link_of(subscriber)._answered("c")
        assert early.heard == ["resubscribed"]
        await subscribing(subscriber, late)
        assert late.heard == []

    asyncio.run(scenario())


def test_a_listener_that_was_not_confirmed_in_time_is_forgotten() -> None:
    async def scenario() -> None:
        subscriber, ear = connected(), Ear()
        with pytest.raises(SubscriptionTimeout):
            await subscriber.subscribe("c", ear, timeout_seconds=0.01)
        assert subscriber._listeners == {}
        assert subscriber._confirmations == {}
        link_of(subscriber)._answered("c")
        assert subscriber._confirmed == set()
        assert not link_of(subscriber)._unanswered

    asyncio.run(scenario())


def test_one_channel_is_one_subscription_however_many_listen() -> None:
    async def scenario() -> None:
        subscriber = connected()
        ears = [Ear() for _ in range(3)]
        waiting = [asyncio.create_task(subscribing(subscriber, ear)) for ear in ears]
        await asyncio.sleep(0)
        link_of(subscriber)._answered("c")
        await asyncio.gather(*waiting)
        for ear in ears:
            subscriber.unsubscribe("c", ear)
        subscriber.unsubscribe("c", ears[0])
        queue = link_of(subscriber)._commands
        assert queue is not None
        sent = [queue.get_nowait() for _ in range(queue.qsize())]
        assert sent == [("subscribe", "c"), ("unsubscribe", "c")]

    asyncio.run(scenario())


@pytest.mark.parametrize("failures", [0, 1, 5, 1000, 10**9])
def test_reconnecting_never_spins_and_never_waits_long(failures: int) -> None:
    assert 0.05 <= delay_seconds(failures) <= 3.0
