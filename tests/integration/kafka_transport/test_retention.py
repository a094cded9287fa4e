"""Messages that are not done are never dropped for their age; those that are, are in the end."""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery
from kombu import Connection, Queue

from kafka_transport.retention import Retention
from kafka_transport.topics import Topics
from kafka_transport.transport import Transport
from tests.support.messages import Collector
from tests.support.waiting import wait_until
from tests.support.workers import Worker

pytestmark = pytest.mark.kafka

Connect = Callable[..., Connection]
TASKS = Queue("tasks", routing_key="tasks")


def topics_of(connection: Connection) -> Topics:
    transport = connection.transport
    assert isinstance(transport, Transport)
    return transport.cluster.topics


def span(topics: Topics, topic: str) -> tuple[int, int]:
    """Of a topic's only partition, the oldest offset and the next one."""
    ((low, high),) = topics._watermarks(topic)
    return low, high


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
        low, high = span(topics, topic)
        return high - low

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


PROJECT = """\
import time
import redis
from celery import Celery
import kafka_transport
from kafka_transport import retention

# Ten minutes otherwise.
retention.ROUND_SECONDS = 0.5
app = Celery("project")
app.conf.update({configuration!r})
gate = redis.Redis.from_url({redis_url!r})

@app.task(acks_late=True)
def quick():
    return 1

@app.task(acks_late=True)
def slow(key):
    gate.blpop(key, 60)
"""


def test_a_running_worker_deletes_what_is_done_and_nothing_else(
    configuration: dict[str, Any], redis_url: str, prefix: str, app: Celery, tmp_path: Path
) -> None:
    configuration["broker_transport_options"] |= {"num_partitions": 1, "keep_done": 0.5}
    app.conf.update(configuration)
    (tmp_path / "project.py").write_text(
        PROJECT.format(configuration=configuration, redis_url=redis_url)
    )
    topic = prefix + "tasks"
    with (
        app.connection_for_read() as connection,
        Worker(tmp_path, "project", "-P", "threads", "-c", "2") as worker,
    ):
        connection.connect()
        topics = topics_of(connection)
        for result in [app.send_task("project.quick") for _ in range(10)]:
            result.get(timeout=20)
        wait_until(lambda: span(topics, topic) == (10, 10), within=20, what="deletion of ten")
        blocked = app.send_task("project.slow", (prefix,))
        for result in [app.send_task("project.quick") for _ in range(5)]:
            result.get(timeout=20)
        # Rounds go by, of a quarter to half a second each.
        started = time.monotonic()
        wait_until(lambda: time.monotonic() - started > 2.5, within=5, what="several rounds")
        assert span(topics, topic) == (10, 16)
        redis.Redis.from_url(redis_url).lpush(prefix, "go")
        blocked.get(timeout=20)
        wait_until(lambda: span(topics, topic) == (16, 16), within=20, what="deletion of the rest")
        assert worker.stop() == 0
        assert "stays in topic" not in worker.output()
