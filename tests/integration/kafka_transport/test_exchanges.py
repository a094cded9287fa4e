"""Transient queues: what is published to an exchange, heard by those who listen."""

from collections.abc import Callable

import pytest
from confluent_kafka.admin import AdminClient
from kombu import Connection, Exchange, Queue

from tests.support.messages import Collector

pytestmark = pytest.mark.kafka

Connect = Callable[..., Connection]


def transient(name: str, exchange: Exchange, key: str = "") -> Queue:
    return Queue(name, exchange, routing_key=key, durable=False, auto_delete=True)


def test_a_fanout_reaches_every_listener(connect: Connect) -> None:
    news = Exchange("news", "fanout", durable=False)
    listeners = [Collector(connect(), transient(f"q{i}", news), no_ack=True) for i in range(2)]
    connect().Producer().publish("hello", exchange=news, routing_key="")
    for listener in listeners:
        assert listener.receive(1) == ["hello"]


def test_a_reply_sent_right_after_the_queue_was_declared_is_not_missed(connect: Connect) -> None:
    replies = Exchange("reply", "direct", durable=False)
    sender = connect().Producer()
    for i in range(10):
        receiver = connect()
        queue = transient(f"reply-{i}", replies, f"key-{i}")
        queue(receiver.channel()).declare()
        sender.publish(i, exchange=replies, routing_key=f"key-{i}")
        assert Collector(receiver, queue, no_ack=True).receive(1) == [i]


def test_each_listener_gets_what_its_bindings_name(connect: Connect) -> None:
    events = Exchange("events", "topic", durable=False)
    all_of_it = Collector(connect(), transient("all", events, "#"), no_ack=True)
    tasks = Collector(connect(), transient("tasks", events, "task.*"), no_ack=True)
    producer = connect().Producer()
    for key in ("task.sent", "worker.online", "task.done"):
        producer.publish(key, exchange=events, routing_key=key, declare=[events])
    assert all_of_it.receive(3) == ["task.sent", "worker.online", "task.done"]
    assert tasks.receive(2) == ["task.sent", "task.done"]


def test_a_reply_goes_straight_to_a_queue_by_the_default_exchange(connect: Connect) -> None:
    collector = Collector(connect(), Queue("rpc-1", durable=False, auto_delete=True), no_ack=True)
    connect().Producer().publish("answer", exchange="", routing_key="rpc-1")
    assert collector.receive(1) == ["answer"]


def test_a_deleted_queue_hears_nothing_more(connect: Connect) -> None:
    news = Exchange("news", "fanout", durable=False)
    connection = connect()
    collector = Collector(connection, transient("q", news), no_ack=True)
    collector.consumer.cancel()
    connect().Producer().publish("hello", exchange=news, routing_key="")
    assert collector.drain(1) == []


def test_durable_and_transient_queues_of_one_fanout_both_get_a_message(connect: Connect) -> None:
    news = Exchange("news", "fanout")
    listener = Collector(connect(), transient("ear", news), no_ack=True)
    archive = Queue("archive", news)
    connect().Producer().publish("hello", exchange=news, routing_key="", declare=[archive])
    assert listener.receive(1) == ["hello"]
    assert Collector(connect(), archive, no_ack=True).receive(1) == ["hello"]


def test_there_is_one_topic_an_exchange_however_many_queues(
    connect: Connect, kafka: str, prefix: str
) -> None:
    news = Exchange("news", "fanout", durable=False)
    for i in range(5):
        Collector(connect(), transient(f"q{i}", news))
    topics = AdminClient({"bootstrap.servers": kafka}).list_topics(timeout=10).topics
    assert {t for t in topics if t.startswith(prefix)} == {
        prefix + "news.exchange",
        prefix + "default.exchange",
    }
