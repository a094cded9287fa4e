"""Queues with x-max-priority."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from kombu import Connection, Queue

from kafka_transport.channel import Channel
from tests.integration.kafka_transport.conftest import Connect
from tests.support.messages import Collector
from tests.support.waiting import wait_until

pytestmark = pytest.mark.kafka

RANKED = Queue("ranked", routing_key="ranked", max_priority=5)
PLAIN = Queue("plain", routing_key="plain")


def publish(connection: Connection, body: object, queue: Queue = RANKED, **options: Any) -> None:
    connection.Producer().publish(body, routing_key=queue.name, declare=[queue], **options)


def count(connection: Connection, queue: Queue = RANKED) -> int:
    declared: Any = queue.bind(connection.channel()).queue_declare(passive=True)
    return int(declared.message_count)


def written(connection: Connection, topic: str) -> int:
    """Records of a topic."""
    transport: Any = connection.transport
    return sum(end.offset for end in transport.cluster.topics.end_offsets(topic))


def test_a_higher_priority_comes_first_even_behind_a_backlog(connect: Connect) -> None:
    sender = connect(confirm_publish=False)
    for i in range(300):
        publish(sender, i, priority=0)
    collector = Collector(connect(max_buffered=50), RANKED, prefetch=1)
    collector.receive(1)
    for i in range(20):
        publish(connect(), f"p3-{i}", priority=3)
    publish(connect(), "p9", priority=9)
    # What is prefetched stays; the rest of the backlog waits for what is more urgent.
    collector.drain(2)
    assert collector.bodies == [collector.bodies[0]]
    while len(collector.messages) < 25:
        collector.messages[-1].ack()
        collector.receive(len(collector.messages) + 1)
    assert collector.bodies[1] == "p9"
    assert set(collector.bodies[2:22]) == {f"p3-{i}" for i in range(20)}
    assert all(isinstance(body, int) for body in collector.bodies[22:])


def test_without_x_max_priority_messages_keep_their_order(connect: Connect) -> None:
    sender = connect(num_partitions=1)
    for i in range(10):
        publish(sender, i, PLAIN, priority=i)
    collector = Collector(connect(num_partitions=1), PLAIN)
    assert collector.receive(10) == list(range(10))


def test_a_transient_queue_has_priorities_too(connect: Connect) -> None:
    queue = Queue("brief", routing_key="brief", durable=False, auto_delete=True, max_priority=5)
    connection = connect()
    channel = connection.channel()
    queue.bind(channel).declare()
    for body, priority in (("a", 1), ("b", 9), ("c", 1), ("d", 3), ("e", 5), ("f", 0)):
        publish(connection, body, queue, priority=priority)
    wait_until(lambda: count(connection, queue) == 6, within=20, what="six messages")
    assert Collector(connection, queue).receive(6) == ["b", "e", "d", "a", "c", "f"]


def test_lanes_are_counted_purged_and_deleted_with_their_queue(connect: Connect) -> None:
    connection = connect()
    for priority in (0, 1, 5, 9):
        publish(connection, priority, priority=priority)
    assert count(connection) == 4
    channel = connection.channel()
    assert isinstance(channel, Channel)
    assert channel.queue_purge("ranked") == 4
    assert count(connection) == 0
    publish(connection, "again", priority=5)
    assert channel.queue_delete("ranked") == 1
    publish(connect(), "new", priority=5)
    assert Collector(connect(), RANKED).receive(1) == ["new"]


def test_a_delayed_message_comes_back_to_its_lane(connect: Connect, prefix: str) -> None:
    sender = connect()
    publish(sender, "first")
    collector = Collector(connect(max_buffered=5), RANKED, prefetch=1)
    collector.receive(1)
    eta = (datetime.now(UTC) + timedelta(seconds=1.5)).isoformat()
    publish(sender, "urgent", priority=4, headers={"eta": eta})
    for i in range(40):
        publish(sender, i, priority=0)
    lane = prefix + "ranked.p4"
    wait_until(lambda: written(sender, lane), within=30, what="the message in its lane")
    # Until it is read from there.
    collector.drain(2)
    collector.messages[-1].ack()
    collector.receive(2)
    assert collector.bodies[1] == "urgent"


def test_a_requeued_message_keeps_its_lane(connect: Connect, prefix: str) -> None:
    connection = connect()
    publish(connection, "x", priority=3)
    collector = Collector(connection, RANKED, prefetch=1)
    collector.receive(1)
    collector.messages[0].requeue()
    collector.receive(2)
    assert collector.messages[1].delivery_info["redelivered"]
    assert written(connection, f"{prefix}ranked.p3") == 2


def test_a_process_that_declared_nothing_finds_the_lanes(connect: Connect, prefix: str) -> None:
    publish(connect(), 0, priority=0)
    # Options of its own: what the first connection knows is not shared.
    stranger = connect(publish_timeout=9.0)
    stranger.Producer().publish(5, routing_key="ranked", priority=7)
    assert written(stranger, f"{prefix}ranked.p5") == 1
    assert sorted(Collector(connect(publish_timeout=8.0), RANKED).receive(2)) == [0, 5]
