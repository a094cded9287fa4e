"""The transport while servers and processes go away."""

import asyncio
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
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

        def refused() -> int:
            # Other tests' brokers are away too, and this process's producers outlive them.
            said = [record.getMessage() for record in caplog.records]
            return sum("refused" in each and own_kafka.bootstrap_servers in each for each in said)

        assert collector.drain_until(lambda: refused() > 0, within=20)
        collector.drain(5)
        assert refused() <= 3


def test_in_the_pipeline_a_broker_that_is_down_stops_publishing_with_a_full_buffer(
    own_kafka: KafkaServer,
) -> None:
    with connection_to(
        own_kafka.bootstrap_servers, confirm_publish=False, max_unsent_bytes=1_000_000
    ) as connection:
        producer = connection.Producer()
        producer.publish("before", routing_key="tasks", declare=[TASKS])
        own_kafka.stop()
        started = time.monotonic()

        def fill() -> None:
            for _ in range(200):
                producer.publish("x" * 10_000, routing_key="tasks")

        with pytest.raises(OperationalError, match="max_unsent_bytes"):
            fill()
        assert time.monotonic() - started < 6


def test_an_event_loop_goes_on_while_the_broker_is_down(own_kafka: KafkaServer) -> None:
    gaps: list[float] = []

    async def tick() -> None:
        while True:
            started = time.monotonic()
            await asyncio.sleep(0.01)
            gaps.append(time.monotonic() - started)

    async def main(connection: Connection) -> None:
        ticking = asyncio.create_task(tick())
        producer = connection.Producer(routing_key="tasks")
        await kafka_transport.confirmed(producer.publish, "before", declare=[TASKS])
        await asyncio.to_thread(own_kafka.stop)
        with pytest.raises(OperationalError, match="publish_timeout"):
            await kafka_transport.confirmed(producer.publish, "lost")
        ticking.cancel()

    with connection_to(own_kafka.bootstrap_servers, publish_timeout=6.0) as connection:
        asyncio.run(main(connection))
    assert max(gaps) < 1
    assert sum(gaps) > 2


def test_an_event_loop_gives_a_message_up_in_time(own_kafka: KafkaServer) -> None:
    async def main(connection: Connection) -> float:
        channel: Any = connection.channel()
        TASKS(channel).declare()
        message = channel.prepare_message("1", 0, "application/json", "utf-8", {}, {})
        channel.basic_publish(message, "", "tasks")
        template = channel.template(message, ("ID",), routing_key="tasks", confirm_timeout=0.5)
        await asyncio.to_thread(own_kafka.stop)
        began = time.monotonic()
        lost = [template.publish({"ID": "lost"}) for _ in range(10)]
        for each in lost:
            with pytest.raises(OperationalError, match=r"within 0\.5 s"):
                await each
        return time.monotonic() - began

    with connection_to(own_kafka.bootstrap_servers, publish_timeout=6.0) as connection:
        assert 0.5 <= asyncio.run(main(connection)) < 2


def test_with_retry_a_message_waits_for_the_broker_to_come_back(own_kafka: KafkaServer) -> None:
    with Celery("client", set_as_current=False) as app:
        app.conf.update(
            broker_url=f"kafka://{own_kafka.bootstrap_servers}",
            broker_transport_options={"publish_timeout": 6.0, "num_partitions": 4},
            task_default_queue="tasks",
        )
        app.send_task("any")
        own_kafka.stop()
        back = threading.Timer(7, own_kafka.start)
        back.start()
        policy = {"max_retries": 10, "interval_start": 0.2, "interval_step": 0.2}
        app.send_task("any", retry=True, retry_policy=policy)
        back.join()
        with app.connection_for_read() as connection:
            assert len(Collector(connection, TASKS).receive(2)) == 2
        own_kafka.stop()
        with pytest.raises(OperationalError, match="publish_timeout"):
            app.send_task("any", retry=False)
