"""Messages that are not done are never dropped for their age; those that are, are in the end."""

import logging
import time
from collections.abc import Callable

import pytest
from kombu import Connection, Queue

from kafka_transport.retention import Retention
from kafka_transport.topics import Topics
from kafka_transport.transport import Transport
from tests.support.messages import Collector

pytestmark = pytest.mark.kafka

Connect = Callable[..., Connection]
TASKS = Queue("tasks", routing_key="tasks")


def topics_of(connection: Connection) -> Topics:
    transport = connection.transport
    assert isinstance(transport, Transport)
    return transport.cluster.topics


def publish(connection: Connection, count: int) -> None:
    for body in range(count):
        connection.Producer().publish(body, routing_key="tasks", declare=[TASKS])


def test_only_what_is_done_and_old_enough_is_deleted(connect: Connect, prefix: str) -> None:
    publish(connect(num_partitions=1), 10)
    worker = connect(num_partitions=1)
    collector = Collector(worker, TASKS)
    collector.receive(10)
    for message in collector.messages[:6]:
        message.ack()
    worker.release()
    fresh = connect(num_partitions=1)
    fresh.connect()
    topics, topic = topics_of(fresh), prefix + "tasks"
    assert topics.keeps_for_ever(topic)

    def kept() -> int:
        ((low, high),) = topics._watermarks(topic)
        return int(high - low)

    week, none = Retention(topics, 604_800.0), Retention(topics, 0.0)
    for retention in (week, none):
        retention.watch(topic, f"{prefix}group.{prefix}tasks")
    week.clean(time.time())
    assert kept() == 10
    none.clean(time.time() + 1)
    assert kept() == 4
    assert sorted(Collector(connect(), TASKS).receive(4)) == [6, 7, 8, 9]


def test_a_topic_whose_end_of_retention_was_given_is_left_to_the_broker(
    connect: Connect, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    connection = connect(topic_config={"retention.ms": "3600000"})
    publish(connection, 1)
    Collector(connection, TASKS, no_ack=True).receive(1)
    retention = Retention(topics_of(connection), 0.0)
    retention.watch(prefix + "tasks", f"{prefix}group.{prefix}tasks")
    with caplog.at_level(logging.WARNING):
        retention.clean(time.time() + 1)
        retention.clean(time.time() + 1)
    assert [r.getMessage() for r in caplog.records if "retention.ms=-1" in r.getMessage()][1:] == []
    assert "retention.ms=-1" in caplog.text
