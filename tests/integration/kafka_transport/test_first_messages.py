"""The first message of a queue that was just declared, on a connection that already consumes others."""

import time
from collections.abc import Callable
from typing import Final

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


def first_message(connection: Connection, queue: Queue) -> float:
    """Seconds from its publication to its delivery."""
    bound = queue.bind(connection.channel())
    bound.declare()
    started = time.monotonic()
    connection.Producer().publish("x", exchange=queue.exchange, routing_key=queue.routing_key)
    assert Collector(connection, queue, no_ack=True).receive(1) == ["x"]
    return time.monotonic() - started


@pytest.mark.parametrize("kind", [durable])
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
