"""How workers share queues."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kombu import Connection, Queue

import kafka_transport
from respond_async.dev import mock_kafka
from tests.integration.kafka_transport.conftest import Connect
from tests.support.messages import Collector
from tests.support.waiting import wait_until

pytestmark = pytest.mark.kafka

FIRST = Queue("first", routing_key="first")
SECOND = Queue("second", routing_key="second", max_priority=2)
QUEUES = (FIRST, SECOND)


def shares(collector: Collector) -> dict[str, set[tuple[str, int]]]:
    """The partitions that a connection has, by queue."""
    transport: Any = collector.connection.transport
    return {queue: set(member._assigned) for queue, member in transport.dispatch._members.items()}


def test_workers_of_several_queues_have_even_shares_of_each(connect: Connect, prefix: str) -> None:
    collectors = [Collector(connect(), *(q(connect().channel()) for q in QUEUES)) for _ in range(2)]

    def even() -> bool:
        for collector in collectors:
            collector.drain(0.05)
        return all(
            sum(topic == prefix + queue.name for topic, _ in shares(collector)[queue.name]) == 2
            for collector in collectors
            for queue in QUEUES
        )

    wait_until(even, within=20, what="two of four partitions of each queue for each worker")
    for collector in collectors:
        held = shares(collector)["second"]
        main = {partition for topic, partition in held if topic == f"{prefix}second"}
        for lane in (1, 2):
            topic = f"{prefix}second.p{lane}"
            assert {partition for name, partition in held if name == topic} == main
    delays = [sum("second.delay" in t for t, _ in shares(c)["second"]) for c in collectors]
    assert sorted(delays) == [0, 28]


def test_a_static_member_that_restarts_moves_no_partition(connect: Connect) -> None:
    sender = connect()
    for i in range(8):
        sender.Producer().publish(i, routing_key="first", declare=[FIRST])
    here, there = connect(group_instance_id="here"), connect(group_instance_id="there")
    stays = Collector(there, FIRST, no_ack=True)
    goes = Collector(here, FIRST, no_ack=True)

    def both() -> bool:
        stays.drain(0.05)
        goes.drain(0.05)
        return len(shares(stays)["first"]) > 1 and len(shares(goes)["first"]) > 1

    wait_until(both, within=20, what="both members have partitions")
    stays.drain(3)
    before = shares(stays)["first"]
    here.release()
    again = Collector(connect(group_instance_id="here"), FIRST, no_ack=True)
    wait_until(
        lambda: (again.drain(0.05), shares(again)["first"])[1], within=10, what="its partitions"
    )
    assert shares(stays)["first"] == before
    assert not shares(again)["first"] & before


def test_the_newer_group_protocol_works_the_same(connect: Connect) -> None:
    options = {"group_protocol": "consumer"}
    sender = connect()
    for i in range(40):
        sender.Producer().publish(i, routing_key="second", declare=[SECOND], priority=i % 3)
    first = Collector(connect(**options), SECOND)
    first.receive(40)
    for message in first.messages[::2]:
        message.ack()
    second = Collector(connect(**options), SECOND)
    expected = {message.payload for message in first.messages[1::2]}

    def handed_over() -> bool:
        second.drain(0.05)
        return bool(shares(second)["second"])

    first.connection.release()
    wait_until(handed_over, within=30, what="the newer member has partitions")
    second.receive(20)
    assert set(second.bodies) == expected
    assert len(second.drain(1)) == 20


@pytest.fixture
def mock_broker(tmp_path: Path) -> Iterator[str]:
    """librdkafka's mock cluster, as `make run` starts it."""
    address = tmp_path / "address"
    script = mock_kafka.__file__
    with subprocess.Popen([sys.executable, "-P", script, str(address)]) as process:
        wait_until(address.exists, within=10, what="the mock broker")
        yield address.read_text()
        process.terminate()


def test_lanes_and_delays_work_on_the_embedded_broker(mock_broker: str) -> None:
    with Connection(f"{kafka_transport.SCHEME}://{mock_broker}") as connection:
        producer = connection.Producer()
        eta = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() + 3))
        producer.publish("late", routing_key="second", declare=[SECOND], headers={"eta": eta})
        for priority in range(3):
            producer.publish(priority, routing_key="second", priority=priority)
        collector = Collector(connection, SECOND)
        collector.receive(4)
        assert collector.bodies[3] == "late"
        assert sorted(collector.bodies[:3]) == [0, 1, 2]
