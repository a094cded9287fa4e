"""basic_get, message expiry, and queues that expire."""

import logging
import time
from typing import Any

import pytest
from kombu import Connection, Exchange, Queue

from kafka_transport.channel import Channel
from tests.integration.kafka_transport.conftest import Connect
from tests.support.messages import Collector
from tests.support.waiting import wait_until

pytestmark = pytest.mark.kafka

TASKS = Queue("tasks", routing_key="tasks")
RANKED = Queue("ranked", routing_key="ranked", max_priority=3)


def publish(connection: Connection, body: object, queue: Queue = TASKS, **options: Any) -> None:
    connection.Producer().publish(body, routing_key=queue.name, declare=[queue], **options)


def channel_of(connection: Connection) -> Channel:
    channel = connection.channel()
    assert isinstance(channel, Channel)
    return channel


def test_getting_is_prompt_and_an_empty_queue_is_said_at_once(connect: Connect) -> None:
    connection = connect()
    TASKS.bind(connection.channel()).declare()
    channel = channel_of(connection)
    started = time.monotonic()
    assert channel.basic_get("tasks") is None
    assert time.monotonic() - started < 2
    for i in range(5):
        publish(connection, i)
        message = channel.basic_get("tasks")
        assert message is not None
        assert message.payload == i
        message.ack()
        assert channel.basic_get("tasks") is None
    assert time.monotonic() - started < 15


def test_getting_honours_lanes_and_no_ack(connect: Connect) -> None:
    connection = connect(num_partitions=1)
    for priority in (0, 2, 3):
        publish(connection, priority, RANKED, priority=priority)
    channel = channel_of(connection)
    first = channel.basic_get("ranked", no_ack=True)
    assert first is not None
    got = [first.payload]
    while (message := channel.basic_get("ranked", no_ack=True)) is not None:
        got.append(message.payload)
    assert sorted(got) == [0, 2, 3]
    connection.release()
    assert Collector(connect(), RANKED).drain(2) == []


def test_who_got_a_message_leaves_the_rest_to_others(connect: Connect) -> None:
    getter, worker = connect(), connect()
    for i in range(20):
        publish(getter, i)
    message = channel_of(getter).basic_get("tasks")
    assert message is not None
    message.ack()
    collector = Collector(worker, TASKS)
    # The getter's connection stays open; its share must not stay with it.
    collector.receive(19, within=15)
    assert sorted([message.payload, *collector.bodies]) == list(range(20))


def test_getting_beside_a_consumer_takes_only_what_that_has_no_room_for(connect: Connect) -> None:
    connection = connect()
    for i in range(4):
        publish(connection, i)
    collector = Collector(connection, TASKS, prefetch=2)
    collector.receive(2)
    collector.drain(1)
    got = channel_of(connection).basic_get("tasks")
    assert got is not None
    got.ack()
    collector.messages[0].ack()
    collector.receive(3)
    assert sorted([got.payload, *collector.bodies]) == [0, 1, 2, 3]


def test_a_message_that_expired_is_dropped_and_acked(
    connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "kafka_transport")
    short = Queue("short", routing_key="short", message_ttl=0.2)
    sender = connect()
    publish(sender, "own", expiration=0.2)
    publish(sender, "lasting", expiration=600)
    publish(sender, "queue's", short)
    sent = time.monotonic()
    wait_until(lambda: time.monotonic() - sent > 0.3, within=1, what="the time to live")
    connection = connect()
    collector = Collector(connection, TASKS, short)
    collector.receive(1)
    assert collector.drain(1.5) == ["lasting"]
    assert sum("has expired" in r.getMessage() for r in caplog.records) == 2
    collector.messages[0].ack()
    for queue in (TASKS, short):
        wait_until(
            lambda queue=queue: (  # type: ignore[misc]
                queue.bind(sender.channel()).queue_declare(passive=True).message_count == 0
            ),
            within=5,
            what="the commit",
        )


def test_a_transient_queue_that_nobody_uses_is_forgotten(connect: Connect) -> None:
    connection = connect()
    events = Exchange("events", type="fanout")
    idle = Queue("idle", events, durable=False, expires=0.5)
    used = Queue("used", events, durable=False, expires=0.5)
    collector = Collector(connection, used, no_ack=True)
    idle.bind(connection.channel()).declare()
    transport: Any = connection.transport
    assert transport.is_transient("idle")
    wait_until(lambda: not transport.is_transient("idle"), within=5, what="the end of the queue")
    assert transport.is_transient("used")
    connection.Producer().publish("x", exchange=events)
    assert collector.receive(1) == ["x"]


def test_events_older_than_their_queue_allows_are_not_delivered(connect: Connect) -> None:
    connection = connect()
    events = Exchange("events", type="fanout")
    queue = Queue("mine", events, durable=False, message_ttl=0.3)
    queue.bind(connection.channel()).declare()
    connection.Producer().publish("old", exchange=events)
    transport: Any = connection.transport
    wait_until(lambda: transport.inbox.waiting_in("mine") == 1, within=5, what="the event")
    sent = time.monotonic()
    wait_until(lambda: time.monotonic() - sent > 0.4, within=1, what="the time to live")
    connection.Producer().publish("new", exchange=events)
    assert Collector(connection, queue, no_ack=True).receive(1) == ["new"]
