"""One message published again and again from an event loop, with a few of its words changed."""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from kombu import Connection, Queue

from kafka_transport.channel import Channel
from kafka_transport.template import Template
from tests.support.messages import Collector

pytestmark = pytest.mark.kafka

Connect = Callable[..., Connection]
TASKS = Queue("tasks", routing_key="tasks")


def channel_of(connection: Connection) -> Channel:
    channel = connection.channel()
    assert isinstance(channel, Channel)
    return channel


def template_of(connection: Connection, **where: Any) -> Template:
    channel = channel_of(connection)
    TASKS(channel).declare()
    message = channel.prepare_message(
        json.dumps({"text": "TEXT", "id": "ID"}),
        content_type="application/json",
        content_encoding="utf-8",
        headers={"id": "ID", "shown": "TEXT", "same": [1, None]},
        properties={"correlation_id": "ID"},
    )
    return channel.template(
        message, ("ID", "TEXT"), **{"exchange": "", "routing_key": "tasks", **where}
    )


def test_each_message_has_its_own_words(connect: Connect) -> None:
    # Neither JSON's own characters, each alone, nor another of the words in one of them changes anything.
    texts = ["TEXT", '"ID"', "\\", "\n", "\x7f", "\x00", "é", "\u2028", "\ud800", "-+/=.", ""]
    words = [
        # Every second one is long, which is dealt with in another way.
        {"ID": str(number), "TEXT": f"{number} {texts[number % 11]}" + "x" * (200 * (number % 2))}
        for number in range(300)
    ]

    async def publish() -> None:
        template = template_of(connect())
        await asyncio.gather(*(template.publish(each) for each in words[:200]))
        for each in words[200:]:
            await template.publish(each, "a key")

    asyncio.run(publish())
    connection = connect()
    got: dict[str, Any] = {}

    def take(body: Any, message: Any) -> None:
        got[body["id"]] = (body["text"], dict(message.headers), dict(message.properties))
        message.ack()

    with connection.Consumer([TASKS], callbacks=[take], accept=["json"]):
        while len(got) < len(words):
            connection.drain_events(timeout=20)
    for number, each in enumerate(words):
        text, headers, properties = got[each["ID"]]
        assert text == each["TEXT"]
        assert headers == {"id": each["ID"], "shown": each["TEXT"], "same": [1, None]}
        assert properties["correlation_id"] == each["ID"]
        assert properties.get("partition_key") == ("a key" if number >= 200 else None)


def test_what_goes_to_several_queues_is_confirmed_once_all_have_it(connect: Connect) -> None:
    async def publish() -> None:
        channel = channel_of(connect())
        for name in ("one", "two"):
            Queue(name, exchange=TASKS.exchange)(channel).declare()
            channel.queue_bind(name, "both", "key")
        template = template_of(connect(), exchange="both", routing_key="key")
        await asyncio.gather(*(template.publish({"ID": str(n), "TEXT": ""}) for n in range(20)))

    asyncio.run(publish())
    for name in ("one", "two"):
        queue = Queue(name)
        assert len(Collector(connect(), queue).receive(20)) == 20


def test_a_message_that_is_not_stored_says_why(connect: Connect) -> None:
    async def publish() -> None:
        # The topic takes what brokers take by default; the client would send more.
        template_of(connect())
        template = template_of(connect(max_message_bytes=5_000_000))
        large = template.publish({"ID": "large", "TEXT": "x" * 2_000_000})
        small = template.publish({"ID": "small", "TEXT": "x"})
        await small
        with pytest.raises(Exception, match=r"larger|max\.message"):
            await large

    asyncio.run(publish())


def test_who_publishes_in_a_thread_meanwhile_does_not_wait_for_the_loop(connect: Connect) -> None:
    connection = connect()
    template = template_of(connection)
    producer = connect().Producer(routing_key="tasks")
    slowest = 0.0

    def publish_in_thread() -> None:
        nonlocal slowest
        for number in range(50):
            began = time.monotonic()
            producer.publish(number)
            slowest = max(slowest, time.monotonic() - began)

    async def publish() -> None:
        other = asyncio.ensure_future(asyncio.to_thread(publish_in_thread))
        while not other.done():
            await asyncio.gather(*(template.publish({"ID": "1", "TEXT": ""}) for _ in range(20)))
        await other

    asyncio.run(publish())
    # Where nobody looked at the reports they came twice a second.
    assert slowest < 0.4
