"""The transport while servers and processes go away."""

import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest
from kombu import Connection, Queue
from kombu.exceptions import OperationalError

import kafka_transport
from tests.support.kafka_server import KafkaServer
from tests.support.messages import Collector

pytestmark = [pytest.mark.kafka, pytest.mark.faults]

TASKS = Queue("tasks", routing_key="tasks")


def connection_to(bootstrap: str, prefix: str = "", **options: object) -> Connection:
    return Connection(
        f"{kafka_transport.SCHEME}://{bootstrap}",
        transport_options={
            "group_id": prefix + "group",
            "topic_prefix": prefix,
            "num_partitions": 4,
            "publish_timeout": 2.0,
            **options,
        },
    )


def test_a_broker_that_restarts_makes_nothing_run_again(own_kafka: KafkaServer) -> None:
    with connection_to(own_kafka.bootstrap_servers) as connection:
        producer = connection.Producer()
        for i in range(20):
            producer.publish(i, routing_key="tasks", declare=[TASKS])
        collector = Collector(connection, TASKS)
        collector.receive(20)
        for message in collector.messages[:5]:
            message.ack()
        own_kafka.kill()
        # Longer than the group waits for a member: the partitions are lost, and come back.
        collector.drain(9)
        for message in collector.messages[5:10]:
            message.ack()
        own_kafka.start()
        producer.publish("after", routing_key="tasks")
        collector.drain_until(lambda: "after" in collector.bodies, 30)
        collector.drain(3)
        assert sorted(map(str, collector.bodies)) == sorted([*map(str, range(20)), "after"])
        for message in collector.messages[10:]:
            message.ack()
    with connection_to(own_kafka.bootstrap_servers) as again:
        assert Collector(again, TASKS).drain(3) == []


def test_with_the_broker_down_publishing_fails_in_bounded_time_and_then_works_again(
    own_kafka: KafkaServer,
) -> None:
    with connection_to(own_kafka.bootstrap_servers) as connection:
        producer = connection.Producer()
        producer.publish("before", routing_key="tasks", declare=[TASKS])
        own_kafka.stop()
        started = time.monotonic()
        with pytest.raises(OperationalError, match="tasks"):
            producer.publish("lost", routing_key="tasks")
        assert time.monotonic() - started < 5
        own_kafka.start()
        producer.publish("after", routing_key="tasks")
        assert sorted(Collector(connection, TASKS).receive(2)) == ["after", "before"]


VICTIM = """
import sys, time
sys.path.insert(0, {root!r})
from tests.faults.test_kafka_transport import TASKS, connection_to
from tests.support.messages import Collector
connection = connection_to({bootstrap!r}, {prefix!r})
collector = Collector(connection, TASKS)
collector.receive(1000)
for message in collector.messages:
    if message.payload % 2:
        message.ack()
collector.drain(0.5)
print("ready", flush=True)
time.sleep(600)
"""


def test_after_kill_9_only_what_was_unfinished_comes_again(kafka: str) -> None:
    prefix = f"kill{uuid.uuid4().hex[:6]}."
    with connection_to(kafka, prefix, confirm_publish=False) as connection:
        producer = connection.Producer()
        for i in range(1000):
            producer.publish(i, routing_key="tasks", declare=[TASKS])
        root = str(Path(__file__).parents[2])
        script = VICTIM.format(root=root, bootstrap=kafka, prefix=prefix)
        with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as victim:
            assert victim.stdout is not None
            assert victim.stdout.readline() == b"ready\n"
            victim.kill()
        killed = time.monotonic()
        collector = Collector(connection, TASKS)
        collector.receive(500, within=30)
        # Six seconds until the group gives the member up.
        assert time.monotonic() - killed < 15
        assert sorted(collector.bodies) == list(range(0, 1000, 2))
        assert len(collector.drain(2)) == 500


def test_a_stopped_broker_is_said_once_and_not_every_second(
    own_kafka: KafkaServer, caplog: pytest.LogCaptureFixture
) -> None:
    with connection_to(own_kafka.bootstrap_servers) as connection:
        collector = Collector(connection, TASKS.bind(connection.channel()))
        collector.drain(1)
        caplog.clear()
        own_kafka.stop()
        collector.drain(5)
    refused = [r for r in caplog.records if "refused" in r.getMessage()]
    assert 1 <= len(refused) <= 3
