"""Connections to the session's Kafka; each test has topics and a group of its own."""

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import Celery
from kombu import Connection

import kafka_transport

Connect = Callable[..., Connection]


@pytest.fixture
def prefix() -> str:
    return f"t{uuid.uuid4().hex[:8]}."


@pytest.fixture
def configuration(kafka: str, redis_url: str, prefix: str) -> dict[str, object]:
    """Of a Celery project with a queue of its own, `tasks`."""
    return {
        "broker_url": f"{kafka_transport.SCHEME}://{kafka}",
        "result_backend": redis_url,
        "task_default_queue": "tasks",
        "broker_transport_options": {"group_id": prefix + "group", "topic_prefix": prefix},
        "worker_prefetch_multiplier": 1,
    }


@pytest.fixture
def app(configuration: dict[str, object]) -> Iterator[Celery]:
    """A client of that project that knows the tasks by name alone."""
    with Celery("client", set_as_current=False) as client:
        client.conf.update(configuration)
        yield client


@pytest.fixture
def connect(kafka: str, prefix: str) -> Iterator[Connect]:
    opened: list[Connection] = []

    def make(**options: Any) -> Connection:
        connection = Connection(
            f"{kafka_transport.SCHEME}://{kafka}",
            transport_options={
                "group_id": prefix + "group",
                "topic_prefix": prefix,
                "num_partitions": 4,
                "publish_timeout": 10.0,
            }
            | options,
        )
        opened.append(connection)
        return connection

    yield make
    for connection in opened:
        connection.release()
