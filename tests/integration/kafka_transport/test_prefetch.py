"""How many messages a consumer has at a time."""

from typing import Any

import pytest
from kombu import Connection, Consumer, Queue
from kombu.message import Message

from tests.integration.kafka_transport.conftest import Connect

pytestmark = pytest.mark.kafka

A, B = Queue("a", routing_key="a"), Queue("b", routing_key="b")


class Two:
    """A consumer on each of two queues, on one channel."""

    def __init__(self, connection: Connection, **qos: Any) -> None:
        self.connection = connection
        self.channel: Any = connection.channel()
        self.a: list[Message] = []
        self.b: list[Message] = []
        self.qos(**qos)
        Consumer(self.channel, [A], on_message=self.a.append).consume()
        Consumer(self.channel, [B], on_message=self.b.append).consume()

    def qos(self, count: int, *, apply_global: bool) -> None:
        self.channel.basic_qos(0, count, apply_global)

    def drain(self, seconds: float = 1.5) -> tuple[int, int]:
        while True:
            try:
                self.connection.drain_events(timeout=seconds)
            except TimeoutError:
                return len(self.a), len(self.b)


@pytest.fixture
def filled(connect: Connect) -> Connection:
    sender = connect(confirm_publish=False)
    for i in range(30):
        for queue in (A, B):
            sender.Producer().publish(i, routing_key=queue.name, declare=[queue])
    return connect()


def test_a_count_is_each_consumers(filled: Connection) -> None:
    two = Two(filled, count=3, apply_global=False)
    assert two.drain() == (3, 3)
    two.a[0].ack()
    assert two.drain() == (4, 3)


def test_a_global_count_is_shared_by_the_channel(filled: Connection) -> None:
    two = Two(filled, count=5, apply_global=True)
    assert sum(two.drain()) == 5
    for message in (*two.a, *two.b):
        message.ack()
    assert sum(two.drain()) == 10


def test_both_limits_hold_together(filled: Connection) -> None:
    two = Two(filled, count=3, apply_global=False)
    two.qos(4, apply_global=True)
    assert sum(two.drain()) <= 4
    assert max(two.drain()) <= 3


def test_a_count_is_changed_while_messages_run(filled: Connection) -> None:
    two = Two(filled, count=2, apply_global=True)
    assert sum(two.drain()) == 2
    two.qos(6, apply_global=True)
    assert sum(two.drain()) == 6
    two.qos(3, apply_global=True)
    for message in (*two.a, *two.b)[:3]:
        message.ack()
    # Three are left unacked, so there is room for none.
    assert sum(two.drain()) == 6
    next(m for m in (*two.a, *two.b) if not m.acknowledged).ack()
    assert sum(two.drain()) == 7


def test_what_basic_get_fetched_takes_no_place(filled: Connection) -> None:
    two = Two(filled, count=2, apply_global=True)
    assert sum(two.drain()) == 2
    assert two.channel.basic_get("a") is not None
    (*two.a, *two.b)[0].ack()
    assert sum(two.drain()) == 3
