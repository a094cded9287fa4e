"""Messages that are not due: they wait in Kafka, not in a worker."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from kombu import Connection, Queue

from kafka_transport.channel import Channel
from tests.support.messages import Collector

pytestmark = pytest.mark.kafka

Connect = Callable[..., Connection]
TASKS = Queue("tasks", routing_key="tasks")


def publish(connection: Connection, body: object, *, seconds: float = 0) -> None:
    eta = (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()
    connection.Producer().publish(
        body, routing_key="tasks", declare=[TASKS], headers={"eta": eta} if seconds else {}
    )


def held(collector: Collector) -> int:
    """Messages that the worker has read and that are not due."""
    members = collector.connection.transport.dispatch._members.values()  # type: ignore[attr-defined]
    return sum(
        len(records) for member in members for records in member._intake._waiting._records.values()
    )


def test_a_message_comes_when_it_is_due_and_takes_no_slot_before(connect: Connect) -> None:
    collector = Collector(connect(), TASKS, prefetch=1)
    sender = connect()
    started = time.monotonic()
    publish(sender, "late", seconds=5)
    publish(sender, "now")
    assert collector.receive(1) == ["now"]
    collector.messages[0].ack()
    assert collector.receive(2) == ["now", "late"]
    # The last second is the worker's own timer's.
    assert 4 <= time.monotonic() - started < 10


def test_a_waiting_message_is_counted_and_purged_with_its_queue(connect: Connect) -> None:
    publish(connect(), "late", seconds=600)
    channel = connect().channel()
    assert isinstance(channel, Channel)
    assert channel.queue_declare("tasks", passive=True).message_count == 1
    assert channel.queue_purge("tasks") == 1
    assert channel.queue_declare("tasks", passive=True).message_count == 0


def test_a_waiting_message_outlives_every_worker(connect: Connect) -> None:
    publish(connect(), "late", seconds=6)
    for _ in range(2):
        connection = connect()
        Collector(connection, TASKS).drain(1)
        connection.release()
    assert Collector(connect(), TASKS).receive(1, within=20) == ["late"]


def test_a_waiting_message_moves_to_another_worker_at_once(connect: Connect) -> None:
    first = Collector(connect(), TASKS)
    first.drain(1)
    publish(connect(), "late", seconds=9)
    first.drain(1)
    second = Collector(connect(), TASKS)
    second.drain(1)
    # A rebalance waits for what runs (10 s), not for what waits for its time.
    started = time.monotonic()
    first.connection.release()
    publish(connect(), "now")
    assert second.receive(1) == ["now"]
    assert time.monotonic() - started < 5
    assert second.receive(2, within=20) == ["now", "late"]


def test_many_waiting_messages_are_not_read_into_memory(connect: Connect) -> None:
    sender = connect(confirm_publish=False)
    for i in range(3000):
        publish(sender, i, seconds=600)
    publish(sender, "soon", seconds=2)
    collector = Collector(connect(), TASKS)
    assert collector.receive(1) == ["soon"]
    assert collector.drain_until(lambda: held(collector) > 0, within=20)
    assert held(collector) <= 1000


def test_a_delay_partition_without_messages_rests_and_is_looked_at_in_time(
    connect: Connect,
) -> None:
    collector = Collector(connect(), TASKS)
    (member,) = collector.connection.transport.dispatch._members.values()  # type: ignore[attr-defined]
    resting = (f"{member._topics.main}.delay", 5)
    assert collector.drain_until(lambda: resting in member._flow._paused, within=20)
    publish(connect(), "late", seconds=50)
    assert collector.drain_until(lambda: held(collector) == 1, within=20)
