"""Messages that nobody could handle: they go aside, with the reason."""

from collections.abc import Callable
from typing import cast

import confluent_kafka
import pytest
from kombu import Connection, Queue

from tests.support.messages import Collector

pytestmark = pytest.mark.kafka

Connect = Callable[..., Connection]
TASKS = Queue("tasks", routing_key="tasks")


def publish(connection: Connection, *bodies: object) -> None:
    for body in bodies:
        connection.Producer().publish(body, routing_key="tasks", declare=[TASKS])


def dead_letter(kafka: str, prefix: str) -> tuple[bytes | None, dict[str, bytes]]:
    consumer = confluent_kafka.Consumer(
        {"bootstrap.servers": kafka, "group.id": prefix + "d", "auto.offset.reset": "earliest"}
    )
    consumer.subscribe([prefix + "tasks.dlq"])
    record = consumer.poll(20)
    consumer.close()
    assert record is not None
    assert record.error() is None, record.error()
    headers = cast("list[tuple[str, bytes]]", record.headers() or [])
    return record.value(), dict(headers)


def test_a_rejected_message_goes_to_the_dead_letters(
    connect: Connect, kafka: str, prefix: str
) -> None:
    publish(connect(), "bad")
    collector = Collector(connect(), TASKS)
    collector.receive(1)
    collector.messages[0].reject()
    body, headers = dead_letter(kafka, prefix)
    assert body == b"bad"
    assert b"rejected" in headers["dead-reason"]
    assert headers["dead-from"].startswith(f"{prefix}tasks[".encode())
    assert len(collector.drain(1)) == 1


def test_what_a_crash_interrupted_comes_again_marked_as_redelivered(connect: Connect) -> None:
    publish(connect(), *range(8))
    for deliveries in range(3):
        connection = connect()
        collector = Collector(connection, TASKS)
        collector.receive(8)
        for message in collector.messages:
            assert message.delivery_info["redelivered"] is (deliveries > 0)
            assert message.delivery_info["delivery_count"] == deliveries
        collector.drain(0.3)
        connection.release()


def test_a_message_that_ends_every_worker_is_given_up(
    connect: Connect, kafka: str, prefix: str
) -> None:
    publish(connect(), "poison")
    for _ in range(3):
        connection = connect(max_deliveries=3)
        Collector(connection, TASKS).receive(1)
        connection.release()
    assert Collector(connect(max_deliveries=3), TASKS).drain(3) == []
    _, headers = dead_letter(kafka, prefix)
    assert headers["dead-reason"] == b"delivered 3 times and never acked"


def test_a_record_that_is_no_message_is_kept_for_who_wonders(
    connect: Connect, kafka: str, prefix: str
) -> None:
    collector = Collector(connect(), TASKS)
    producer = confluent_kafka.Producer({"bootstrap.servers": kafka})
    producer.produce(prefix + "tasks", b"x", headers=[("headers", b"{")])
    producer.flush(10)
    assert collector.drain(2) == []
    body, headers = dead_letter(kafka, prefix)
    assert body == b"x"
    assert b"no message" in headers["dead-reason"]
