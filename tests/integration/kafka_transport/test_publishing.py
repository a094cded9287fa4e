"""How a message gets to Kafka: alone, in batches, from an event loop, and what stops it."""

import asyncio
import logging
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from kombu import Connection, Producer, Queue
from kombu.exceptions import BatchPublishError  # type: ignore[attr-defined]

import kafka_transport
from kafka_transport.channel import Channel
from tests.support.messages import Collector
from tests.support.waiting import wait_until
from tests.support.workers import Worker

pytestmark = pytest.mark.kafka

Connect = Callable[..., Connection]
TASKS = Queue("tasks", routing_key="tasks")
MEGABYTE = 1_000_000


def producer_of(connection: Connection) -> Producer:
    TASKS(connection.channel()).declare()
    return connection.Producer(routing_key="tasks")


def waiting(connection: Connection) -> int:
    channel = connection.channel()
    assert isinstance(channel, Channel)
    return int(channel.queue_declare("tasks", passive=True).message_count)


def test_a_batch_is_stored_when_it_ends(connect: Connect) -> None:
    producer = producer_of(connect())
    with kafka_transport.batch() as published:
        for i in range(500):
            producer.publish(i)
    assert len(published) == 500
    assert waiting(connect()) == 500


@pytest.mark.parametrize("confirm", [True, False])
def test_a_batch_says_what_of_it_failed_and_why(connect: Connect, confirm: bool) -> None:
    # The topic takes what brokers take by default; the client would send more.
    producer_of(connect())
    producer = producer_of(connect(max_message_bytes=5 * MEGABYTE, confirm_publish=confirm))

    def publish() -> None:
        with kafka_transport.batch():
            producer.publish("a", correlation_id="small")
            producer.publish("x" * 2 * MEGABYTE, correlation_id="large")
            producer.publish("b", correlation_id="small too")

    with pytest.raises(kafka_transport.BatchFailed, match="1 of 3 messages failed: large: ") as e:
        publish()
    (failure,) = e.value.failures
    assert failure.message_id == "large"
    assert isinstance(failure.error, kafka_transport.MessageRefused)
    assert "2,000,000 bytes and the topic takes 1,048,588 at most" in str(failure.error)
    assert sorted(Collector(connect(), TASKS, no_ack=True).receive(2)) == ["a", "b"]


def test_a_batch_that_raises_keeps_its_own_error(connect: Connect) -> None:
    producer = producer_of(connect())

    def publish() -> None:
        with kafka_transport.batch():
            producer.publish("sent all the same")
            raise LookupError

    with pytest.raises(LookupError):
        publish()
    assert Collector(connect(), TASKS, no_ack=True).receive(1) == ["sent all the same"]


def test_after_a_batch_publishing_waits_again(connect: Connect) -> None:
    producer_of(connect())
    producer = producer_of(connect(max_message_bytes=5 * MEGABYTE))
    with kafka_transport.batch():
        producer.publish("a")
    with pytest.raises(kafka_transport.MessageRefused, match="topic takes 1,048,588 at most"):
        producer.publish("x" * 2 * MEGABYTE)


def test_kombus_own_batch_is_sent_and_confirmed_at_its_end(connect: Connect) -> None:
    producer: Any = producer_of(connect(confirm_publish=False))
    assert producer.supports_batch_publish
    with producer.batch() as whole:
        for i in range(10):
            producer.publish(i)
        assert waiting(connect()) == 0
        whole.flush()
        assert waiting(connect()) == 10
        producer.publish(10)
    assert waiting(connect()) == 11
    producer.publish(11)
    assert sorted(Collector(connect(), TASKS).receive(12)) == [*range(12)]


def test_kombus_own_batch_keeps_no_more_than_it_was_told(connect: Connect) -> None:
    producer: Any = producer_of(connect())
    with producer.batch(max_size=4):
        for i in range(10):
            producer.publish(i)
        assert waiting(connect()) == 8
    assert waiting(connect()) == 10


def test_kombus_own_batch_sends_nothing_more_if_its_block_raises(connect: Connect) -> None:
    producer: Any = producer_of(connect())

    def publish_and_fail() -> None:
        with producer.batch(max_size=2):
            for i in range(3):
                producer.publish(i)
            raise LookupError

    with pytest.raises(LookupError):
        publish_and_fail()
    assert waiting(connect()) == 2


def test_kombus_own_batch_names_all_that_failed_and_stores_the_rest(connect: Connect) -> None:
    producer_of(connect())
    connection = connect(max_message_bytes=2 * MEGABYTE)
    producer: Any = connection.Producer(routing_key="tasks")

    def publish_all() -> None:
        with producer.batch():
            producer.publish("x" * int(1.5 * MEGABYTE), correlation_id="for the topic")
            producer.publish("x" * 3 * MEGABYTE, correlation_id="for the client")
            producer.publish("lost", routing_key="nowhere", mandatory=True, correlation_id="lost")
            producer.publish("good")

    with pytest.raises(BatchPublishError, match="3 of 4 messages failed") as failed:
        publish_all()
    assert isinstance(failed.value, kafka_transport.BatchFailed)
    why = {failure.message_id: str(failure.error) for failure in failed.value.failures}
    assert "topic takes 1,048,588 at most" in why["for the topic"]
    assert "this client sends 2,000,000 at most" in why["for the client"]
    assert "no queue is bound" in why["lost"]
    assert Collector(connect(), TASKS).receive(1) == ["good"]


def test_an_event_loop_publishes_many_at_once_and_hears_of_each(connect: Connect) -> None:
    producer_of(connect())
    connection = connect(max_message_bytes=5 * MEGABYTE)

    async def publish(i: int) -> str:
        body = "x" * 2 * MEGABYTE if i == 7 else i
        with connection.clone().Producer() as producer:
            try:
                await kafka_transport.confirmed(producer.publish, body, routing_key="tasks")
            except kafka_transport.MessageRefused as refused:
                return str(refused)
        return "stored"

    async def publish_all() -> list[str]:
        return await asyncio.gather(*(publish(i) for i in range(50)))

    words = asyncio.run(publish_all())
    assert [i for i, word in enumerate(words) if word != "stored"] == [7]
    assert "topic takes 1,048,588 at most" in words[7]
    assert waiting(connect()) == 49


def test_an_event_loop_may_publish_to_any_broker() -> None:
    with Celery("other", broker="memory://", set_as_current=False) as app:
        app.conf.task_default_queue = "elsewhere"
        result = asyncio.run(kafka_transport.confirmed(app.send_task, "any", (1,)))
        assert result.id
        with app.connection_for_read() as connection:
            assert connection.SimpleQueue("elsewhere").get(timeout=5).headers["id"] == result.id


def test_a_message_that_was_lost_in_the_pipeline_is_said_with_both_sizes(
    connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    producer_of(connect())
    producer = producer_of(connect(max_message_bytes=5 * MEGABYTE, confirm_publish=False))
    with caplog.at_level(logging.ERROR, "kafka_transport.publisher"):
        producer.publish("x" * 2 * MEGABYTE)
        wait_until(lambda: "lost" in caplog.text, within=10, what="the log line")
    assert "2,000,000 bytes and the topic takes 1,048,588 at most" in caplog.text


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_batches_can_be_compressed(connect: Connect, codec: str) -> None:
    producer = producer_of(connect(compression=codec))
    with kafka_transport.batch():
        for _ in range(50):
            producer.publish("x" * 1000)
    assert Collector(connect(), TASKS, no_ack=True).receive(50) == ["x" * 1000] * 50


PROJECT = """\
from celery import Celery
import kafka_transport

app = Celery("project")
app.conf.update({configuration!r})

@app.task
def size(text):
    return len(text)
"""


def test_a_message_of_5_mb_goes_through_a_worker_if_the_option_allows_it(
    kafka: str, redis_url: str, prefix: str, tmp_path: Path
) -> None:
    configuration = {
        "broker_url": f"kafka://{kafka}",
        "result_backend": redis_url,
        "broker_transport_options": {
            "group_id": prefix + "group",
            "topic_prefix": prefix,
            "max_message_bytes": 6 * MEGABYTE,
        },
    }
    (tmp_path / "project.py").write_text(PROJECT.format(configuration=configuration))
    with Celery("client", set_as_current=False) as app, Worker(tmp_path, "project", "-P", "solo"):
        app.conf.update(configuration)
        result = app.send_task("project.size", ("x" * 5 * MEGABYTE,))
        assert result.get(timeout=20) == 5 * MEGABYTE


SCRIPT = """
import os
import kombu
import kafka_transport
connection = kombu.Connection({url!r}, transport_options={options!r})
producer = connection.Producer(routing_key="tasks")
producer.publish("first", declare=[kombu.Queue("tasks", routing_key="tasks")])
for i in range(200):
    producer.publish(i)
{end}
"""


@pytest.mark.parametrize(
    ("end", "extra"),
    [
        ("", []),
        # A daemon's way: the parent ends at once, the child goes on.
        ("if os.fork(): os._exit(0)", []),
        ("if not os.fork(): producer.publish('child')\nelse: os.wait()", ["child"]),
    ],
    ids=["exit", "daemon", "child"],
)
def test_what_is_in_the_pipeline_is_not_lost_when_the_process_ends_or_forks(
    connect: Connect, kafka: str, prefix: str, end: str, extra: list[str]
) -> None:
    options = {"topic_prefix": prefix, "num_partitions": 4, "confirm_publish": False}
    script = SCRIPT.format(url=f"kafka://{kafka}", options=options, end=end)
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
    got = Collector(connect(), TASKS, no_ack=True).receive(201 + len(extra))
    assert sorted(map(str, got)) == sorted(["first", *map(str, range(200)), *extra])


def test_a_full_buffer_makes_publishing_wait_for_room(connect: Connect) -> None:
    producer = producer_of(connect(confirm_publish=False, max_unsent_bytes=100_000))
    for i in range(300):
        producer.publish(str(i) * 1000)
    got = Collector(connect(), TASKS, no_ack=True).receive(300)
    assert len(set(got)) == 300


def test_a_confirmed_message_does_not_wait_for_company(connect: Connect) -> None:
    producer = producer_of(connect())
    producer.publish("first")
    started = time.monotonic()
    for i in range(20):
        producer.publish(i)
    # Each is a round trip; were one to wait for the report thread to look around, it were 10 s.
    assert time.monotonic() - started < 5
