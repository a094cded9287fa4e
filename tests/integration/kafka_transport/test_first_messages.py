"""The first message of a queue that was just declared, on a connection that already consumes others."""

import threading
import time
from collections.abc import Callable
from typing import Any, Final

import pytest
from kombu import Connection, Exchange, Queue

from kafka_transport.config import Options
from tests.integration.kafka_transport.conftest import Connect
from tests.support.messages import Collector

pytestmark = pytest.mark.kafka

#: librdkafka's own waits, half a second for a fetch under way and one for a leader, are longer.
SOON: Final = 0.4


def durable(name: str) -> Queue:
    return Queue(name, Exchange(name), routing_key=name)


def transient(name: str) -> Queue:
    exchange = Exchange(name, durable=False)
    return Queue(name, exchange, routing_key=name, durable=False, auto_delete=True)


def first_message(connection: Connection, queue: Queue) -> float:
    """Seconds from its publication to its delivery."""
    bound = queue.bind(connection.channel())
    bound.declare()
    started = time.monotonic()
    connection.Producer().publish("x", exchange=queue.exchange, routing_key=queue.routing_key)
    assert Collector(connection, queue, no_ack=True).receive(1) == ["x"]
    return time.monotonic() - started


@pytest.mark.parametrize("kind", [durable, transient])
def test_the_first_message_of_a_new_queue_comes_soon(
    connect: Connect, kind: Callable[[str], Queue]
) -> None:
    connection = connect(num_partitions=Options.num_partitions)
    # The producer, the coordinator and the topics that all queues share are there after this.
    first_message(connection, kind("before"))
    took: list[float] = []
    # On a loaded machine some of several are late; what librdkafka waits for is waited for always.
    while sum(each < SOON for each in took) < 3 and len(took) < 10:
        took.append(first_message(connection, kind(f"new{len(took)}")))
    assert sum(each < SOON for each in took) == 3, took


def test_while_transient_queues_are_added_nothing_is_lost_and_nothing_comes_twice(
    connect: Connect,
) -> None:
    reader, writer = connect(), connect()
    collector = Collector(reader, transient("numbers"), no_ack=True)
    ended = threading.Event()
    sent: list[int] = []

    def write() -> None:
        producer = writer.Producer()
        while not ended.is_set():
            number = len(sent)
            producer.publish(number, exchange="numbers", routing_key="numbers")
            sent.append(number)
            time.sleep(0.001)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for i in range(6):
            collector.drain(0.2)
            transient(f"other{i}").bind(reader.channel()).declare()
    finally:
        ended.set()
        thread.join()
    collector.receive(len(sent))
    assert collector.drain(0.5) == sent


def test_a_queue_that_is_declared_again_does_not_get_what_came_in_between(connect: Connect) -> None:
    connection, sender = connect(), connect()
    queue = transient("again")
    collector = Collector(connection, queue, transient("another"), no_ack=True)
    for round_ in range(3):
        producer = sender.Producer()
        queue.bind(connection.channel()).delete()
        producer.publish("in between", exchange="again", routing_key="again")
        transport: Any = sender.transport
        transport.cluster.publisher.flush()
        queue.bind(connection.channel()).declare()
        producer.publish(round_, exchange="again", routing_key="again")
        collector.consumer.consume()
        collector.receive(round_ + 1)
    assert collector.drain(0.3) == [0, 1, 2]
