"""What a durable queue is bound to is known to every process.

A connection with options of its own shares nothing with the others but Kafka (`Cluster`).
"""

import json
import subprocess
import sys
from collections.abc import Callable

import confluent_kafka
import pytest
from amqp.exceptions import PreconditionFailed
from kombu import Connection, Exchange, Queue

import kafka_transport
from kafka_transport.channel import Channel
from tests.support.messages import Collector
from tests.support.waiting import wait_until

pytestmark = pytest.mark.kafka

Connect = Callable[..., Connection]

NEWS = Exchange("news", "topic")
SPORT = Queue("sport", NEWS, routing_key="*.sport.#")


@pytest.fixture
def elsewhere(connect: Connect) -> Callable[[], Connection]:
    """Each call is a connection as another process would have it."""
    numbers = iter(range(100, 200))
    return lambda: connect(max_buffered=next(numbers))


def publish(connection: Connection, body: object, exchange: str, key: str = "") -> None:
    connection.Producer().publish(body, exchange=exchange, routing_key=key)


def binding_records(kafka: str, prefix: str) -> list[tuple[object, object]]:
    consumer = confluent_kafka.Consumer(
        {"bootstrap.servers": kafka, "group.id": "r", "enable.partition.eof": True}
    )
    consumer.assign([confluent_kafka.TopicPartition(prefix + "kombu.bindings", 0, 0)])
    records: list[tuple[object, object]] = []
    while True:
        record = consumer.poll(20)
        assert record is not None
        if record.error():
            consumer.close()
            return records
        value = record.value()
        records.append((json.loads(record.key() or ""), value and json.loads(value)))


@pytest.mark.parametrize(
    ("kind", "bound_as", "sent_as"),
    [("direct", "k", "k"), ("topic", "a.*", "a.b"), ("fanout", "", "anything")],
)
def test_a_publisher_that_knows_the_exchanges_name_alone_reaches_a_queue_bound_elsewhere(
    elsewhere: Callable[[], Connection], kind: str, bound_as: str, sent_as: str
) -> None:
    queue = Queue("q", Exchange("x", kind), routing_key=bound_as)
    queue(elsewhere().channel()).declare()
    publish(elsewhere(), "hello", "x", sent_as)
    assert Collector(elsewhere(), queue, no_ack=True).receive(1) == ["hello"]


def test_a_real_other_process_reaches_it_too(connect: Connect, kafka: str, prefix: str) -> None:
    collector = Collector(connect(), SPORT, no_ack=True)
    script = (
        "import kafka_transport, kombu\n"
        f"with kombu.Connection('kafka://{kafka}', transport_options={{'topic_prefix': '{prefix}'}}) as c:\n"
        "    c.Producer().publish('goal', exchange='news', routing_key='uk.sport.football')\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
    assert collector.receive(1) == ["goal"]


def test_what_is_bound_while_a_publisher_runs_reaches_it_soon(
    elsewhere: Callable[[], Connection],
) -> None:
    publisher = elsewhere()
    publish(publisher, "nobody hears this", "news", "uk.sport")
    collector = Collector(elsewhere(), SPORT, no_ack=True)

    def heard() -> bool:
        publish(publisher, "goal", "news", "uk.sport")
        collector.drain(0.2)
        return bool(collector.messages)

    wait_until(heard, within=10, what="the new binding")
    SPORT(elsewhere().channel()).unbind_from(NEWS, SPORT.routing_key)

    def ended() -> bool:
        collector.messages.clear()
        publish(publisher, "goal", "news", "uk.sport")
        collector.drain(0.5)
        return not collector.messages

    wait_until(ended, within=20, what="the end of the binding")


def test_an_unbound_queue_gets_nothing_more(elsewhere: Callable[[], Connection]) -> None:
    collector = Collector(elsewhere(), SPORT, no_ack=True)
    SPORT(elsewhere().channel()).unbind_from(NEWS, SPORT.routing_key)
    publish(elsewhere(), "goal", "news", "uk.sport")
    assert collector.drain(1) == []


def test_a_deleted_queue_is_bound_no_more_when_it_comes_back(
    elsewhere: Callable[[], Connection],
) -> None:
    SPORT(elsewhere().channel()).declare()
    SPORT(elsewhere().channel()).delete()
    collector = Collector(elsewhere(), Queue("sport"), no_ack=True)
    publish(elsewhere(), "goal", "news", "uk.sport")
    assert collector.drain(1) == []


def test_a_deleted_exchange_leads_nowhere(elsewhere: Callable[[], Connection]) -> None:
    collector = Collector(elsewhere(), SPORT, no_ack=True)
    NEWS(elsewhere().channel()).delete()
    publish(elsewhere(), "goal", "news", "uk.sport")
    assert collector.drain(1) == []


def test_a_binding_that_is_there_is_not_written_again(
    elsewhere: Callable[[], Connection], kafka: str, prefix: str
) -> None:
    for _ in range(3):
        SPORT(elsewhere().channel()).declare()
    key = ["news", "*.sport.#", "sport"]
    assert binding_records(kafka, prefix) == [(key, {"type": "topic"})]
    SPORT(elsewhere().channel()).unbind_from(NEWS, SPORT.routing_key)
    SPORT(elsewhere().channel()).unbind_from(NEWS, SPORT.routing_key)
    assert binding_records(kafka, prefix)[1:] == [(key, None)]


def test_a_queue_that_was_unbound_elsewhere_is_bound_again_when_asked(
    elsewhere: Callable[[], Connection],
) -> None:
    first = elsewhere()
    SPORT(first.channel()).declare()
    SPORT(elsewhere().channel()).unbind_from(NEWS, SPORT.routing_key)
    SPORT(first.channel()).declare()
    publish(elsewhere(), "goal", "news", "uk.sport")
    assert Collector(elsewhere(), Queue("sport"), no_ack=True).receive(1) == ["goal"]


def test_an_exchange_of_another_type_is_refused_in_every_process(
    elsewhere: Callable[[], Connection],
) -> None:
    SPORT(elsewhere().channel()).declare()
    with pytest.raises(PreconditionFailed, match="'news' is declared as fanout and is topic"):
        Exchange("news", "fanout")(elsewhere().channel()).declare()


def test_without_the_topic_bindings_are_the_process_own(connect: Connect) -> None:
    collector = Collector(connect(bindings_topic=""), SPORT, no_ack=True)
    publish(connect(bindings_topic="", max_buffered=99), "lost", "news", "uk.sport")
    publish(connect(bindings_topic=""), "goal", "news", "uk.sport")
    assert collector.receive(1) == ["goal"]


def test_a_mandatory_message_that_no_queue_gets_comes_back(connect: Connect) -> None:
    channel = connect().channel()
    assert isinstance(channel, Channel)
    SPORT(channel).declare()
    producer = connect().Producer()
    producer.publish("goal", exchange="news", routing_key="uk.sport", mandatory=True)
    with pytest.raises(kafka_transport.Unroutable, match="uk-art"):
        producer.publish("paint", exchange="news", routing_key="uk-art", mandatory=True)
    with pytest.raises(kafka_transport.Unroutable):
        producer.publish("x", routing_key="nosuch", mandatory=True)
    returned: list[tuple[object, ...]] = []
    polite = connect().Producer(on_return=lambda *what: returned.append(what))
    polite.publish("paint", exchange="news", routing_key="uk-art", mandatory=True)
    assert [what[1:3] for what in returned] == [("news", "uk-art")]
