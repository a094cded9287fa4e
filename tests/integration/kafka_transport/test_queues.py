"""Durable queues: publishing, acks, sharing, leaving."""

import os
import time
from collections.abc import Callable

import confluent_kafka
import pytest
from kombu import Connection, Exchange, Queue
from kombu.exceptions import OperationalError

import kafka_transport
from kafka_transport.channel import Channel
from tests.support.messages import Collector
from tests.support.ports import free_port

pytestmark = pytest.mark.kafka

Connect = Callable[..., Connection]
TASKS = Queue("tasks", Exchange("tasks"), routing_key="tasks")


def channel_of(connection: Connection) -> Channel:
    channel = connection.channel()
    assert isinstance(channel, Channel)
    return channel


def publish(connection: Connection, *bodies: object, queue: Queue = TASKS) -> None:
    producer = connection.Producer()
    for body in bodies:
        producer.publish(
            body, exchange=queue.exchange, routing_key=queue.routing_key, declare=[queue]
        )


def test_a_message_arrives_as_it_was_sent(connect: Connect) -> None:
    connect().Producer().publish(
        {"a": "ä"}, exchange="", routing_key="tasks", declare=[TASKS],
        headers={"id": "1", "n": None}, correlation_id="c", priority=3,
    )  # fmt: skip
    (body,) = (collector := Collector(connect(), TASKS)).receive(1)
    message = collector.messages[0]
    assert body == {"a": "ä"}
    assert message.headers == {"id": "1", "n": None}
    assert message.properties["correlation_id"] == "c"
    assert message.delivery_info["routing_key"] == "tasks"
    assert message.delivery_info["priority"] == 3


def test_any_kafka_client_can_read_the_record(connect: Connect, kafka: str, prefix: str) -> None:
    connect().Producer().publish(
        {"x": 1}, exchange="", routing_key="tasks", declare=[TASKS], partition_key="customer-7"
    )
    consumer = confluent_kafka.Consumer(
        {"bootstrap.servers": kafka, "group.id": prefix + "r", "auto.offset.reset": "earliest"}
    )
    consumer.subscribe([prefix + "tasks"])
    record = consumer.poll(20)
    consumer.close()
    assert record is not None
    assert record.value() == b'{"x": 1}'
    assert record.key() == b"customer-7"
    headers = dict(record.headers() or [])
    assert headers["content-type"] == b"application/json"
    assert headers["routing-key"] == b"tasks"


def test_any_kafka_client_can_publish(connect: Connect, kafka: str, prefix: str) -> None:
    collector = Collector(connect(), TASKS)
    producer = confluent_kafka.Producer({"bootstrap.servers": kafka})
    producer.produce(prefix + "tasks", b'"from afar"')
    producer.flush(10)
    assert collector.receive(1) == ["from afar"]


def test_a_record_that_is_no_message_stops_nothing(
    connect: Connect, kafka: str, prefix: str
) -> None:
    collector = Collector(connect(), TASKS)
    producer = confluent_kafka.Producer({"bootstrap.servers": kafka})
    for bad in (b"{", b"[]", b"\xff"):
        producer.produce(prefix + "tasks", b"x", headers=[("headers", bad)], partition=0)
    producer.produce(prefix + "tasks", b'"good"', partition=0)
    producer.flush(10)
    assert collector.receive(1) == ["good"]


def test_only_what_was_not_acked_comes_again(connect: Connect) -> None:
    publish(connect(), *range(40))
    first = connect()
    collector = Collector(first, TASKS)
    collector.receive(40)
    for message in collector.messages:
        if message.payload % 3:
            message.ack()
    first.release()
    again = Collector(connect(), TASKS).receive(14)
    assert sorted(again) == list(range(0, 40, 3))


def test_two_members_share_a_queue_and_every_message_comes_once(connect: Connect) -> None:
    one, two = connect(), connect()
    first, second = Collector(one, TASKS, no_ack=True), Collector(two, TASKS, no_ack=True)
    first.drain(2)
    second.drain(1)
    publish(connect(), *range(100))
    deadline = time.monotonic() + 20
    while len(first.messages) + len(second.messages) < 100 and time.monotonic() < deadline:
        first.drain(0.1)
        second.drain(0.1)
    assert sorted(first.bodies + second.bodies) == list(range(100))
    assert first.messages
    assert second.messages


def test_who_leaves_is_replaced_at_once(connect: Connect) -> None:
    first = connect()
    publish(connect(), 1)
    Collector(first, TASKS, no_ack=True).receive(1)
    first.release()
    publish(connect(), 2)
    started = time.monotonic()
    assert Collector(connect(), TASKS, no_ack=True).receive(1) == [2]
    assert time.monotonic() - started < 3


def test_a_partition_waits_for_its_running_messages_before_it_moves(connect: Connect) -> None:
    publish(connect(), *range(20))
    first = Collector(connect(), TASKS)
    first.receive(20)
    second = Collector(connect(), TASKS)
    second.drain(2)
    for message in first.messages:
        message.ack()
    assert second.drain(3) == []


def test_prefetch_count_is_honoured_exactly(connect: Connect) -> None:
    publish(connect(), *range(10))
    collector = Collector(connect(), TASKS, prefetch=3)
    collector.receive(3)
    collector.drain(0.5)
    assert len(collector.messages) == 3
    collector.messages[1].ack()
    collector.drain(0.5)
    assert len(collector.messages) == 4


def test_a_rejected_message_is_gone_or_comes_again_marked(connect: Connect) -> None:
    publish(connect(), "drop", "again")
    connection = connect()
    collector = Collector(connection, TASKS)
    collector.receive(2)
    for message in list(collector.messages):
        message.reject(requeue=message.payload == "again")
    assert collector.receive(3)[2] == "again"
    assert collector.messages[2].delivery_info["redelivered"] is True
    assert len(collector.drain(0.5)) == 3


def test_an_unfinished_message_does_not_hold_back_the_ones_behind_it(connect: Connect) -> None:
    connection = connect(num_partitions=1, max_ahead=50)
    publish(connection, *range(200))
    collector = Collector(connection, TASKS)
    collector.receive(1)
    first = collector.messages[0]

    def ack_all_but_the_first() -> bool:
        for message in collector.messages[1:]:
            if not message.acknowledged:
                message.ack()
        return len(collector.messages) == 200

    # A batch may overshoot max_ahead: that many records are taken over at a time.
    assert collector.drain_until(ack_all_but_the_first, 20)
    assert collector.bodies == list(range(200))
    assert not first.acknowledged


def test_a_queue_says_how_many_messages_wait(connect: Connect) -> None:
    publish(connect(), *range(7))
    channel = channel_of(connect())
    assert channel.queue_declare("tasks", passive=True).message_count == 7
    assert channel.queue_purge("tasks") == 7
    assert channel.queue_declare("tasks", passive=True).message_count == 0


def test_a_queue_that_is_not_there_is_named(connect: Connect) -> None:
    channel = channel_of(connect())
    with pytest.raises(kafka_transport.QueueNotFound, match="nosuch"):
        channel.queue_declare("nosuch", passive=True)
    with pytest.raises(kafka_transport.QueueNotFound, match="nosuch"):
        channel.basic_consume("nosuch", callback=print)


def test_one_message_can_be_fetched(connect: Connect) -> None:
    publish(connect(), "x")
    channel = channel_of(connect())
    message = channel.basic_get("tasks")
    assert message is not None
    assert message.payload == "x"
    message.ack()


def test_a_message_too_large_is_refused_with_both_sizes(connect: Connect) -> None:
    with pytest.raises(kafka_transport.MessageRefused, match=r"2,000,126 bytes .* 1,000,000"):
        publish(connect(), "x" * 2_000_000)


def test_with_no_broker_a_connection_fails_in_bounded_time() -> None:
    connection = Connection(f"kafka://127.0.0.1:{free_port()}", connect_timeout=1)
    started = time.monotonic()
    with pytest.raises(OperationalError, match="no Kafka answered at"):
        connection.ensure_connection(max_retries=1, interval_start=0)
    assert time.monotonic() - started < 5


def test_a_fork_has_a_producer_of_its_own(connect: Connect) -> None:
    connection = connect()
    publish(connection, "parent")
    child = os.fork()
    if child == 0:
        try:
            publish(connect(), "child")
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    publish(connection, "parent again")
    got = Collector(connect(), TASKS, no_ack=True).receive(3)
    assert sorted(got) == ["child", "parent", "parent again"]


def test_a_cancelled_queue_delivers_all_that_was_left_when_it_is_consumed_again(
    connect: Connect,
) -> None:
    publish(connect(), *range(30))
    collector = Collector(connect(), TASKS, prefetch=5)
    collector.receive(5)
    collector.consumer.cancel()
    for message in collector.messages:
        message.ack()
    collector.consumer.consume()
    deadline = time.monotonic() + 20
    while len(collector.messages) < 30 and time.monotonic() < deadline:
        collector.drain(0.1)
        for message in collector.messages:
            if not message.acknowledged:
                message.ack()
    assert sorted(collector.bodies) == list(range(30))
