"""The Celery message of a replay is the one that Celery's own call makes, over any broker."""

import asyncio
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery, signals
from celery.events import EventDispatcher

import kafka_transport  # noqa: F401 - gives Celery the scheme kafka://
from respond_async import celery_face
from respond_async.celery_face import CeleryFace
from respond_async.envelope import CapturedRequest
from respond_async.publishing import TASK_NAME, BrokerUnavailableError, ReplayPublisher
from respond_async.sealing import Sealer
from respond_async.settings import Settings
from tests.support.ports import free_port

SEALED = "fernet:gAAAAABp_-=" * 40
SHOWN = 'POST /caf%C3%A9/"quoted"\\'


def captured(task_id: str) -> CapturedRequest:
    scope: dict[str, Any] = {
        "method": "POST", "path": "/", "raw_path": SHOWN.removeprefix("POST ").encode(), "headers": [],
    }  # fmt: skip
    return CapturedRequest.of(scope, task_id, datetime.now(UTC), "anon.channel")


class Queue:
    """A queue over Kafka or Redis, and what was published to it."""

    def __init__(self, celery: Celery, name: str) -> None:
        self.celery = celery
        self.name = name

    def messages(self, number: int) -> list[dict[str, Any]]:
        got: list[dict[str, Any]] = []
        with self.celery.connection_for_read() as connection:
            queue = self.celery.amqp.queues[self.name]
            with connection.Consumer([queue], accept=["json"]) as consumer:
                consumer.callbacks = [lambda _, message: got.append(_shape(message))]
                while len(got) < number:
                    connection.drain_events(timeout=20)
        return got


def _shape(message: Any) -> dict[str, Any]:
    message.ack()
    properties = {
        name: value for name, value in message.properties.items()
        if name not in ("delivery_tag", "delivery_info")
    }  # fmt: skip
    return {
        "body": json.loads(message.body),
        "content_type": message.content_type,
        "content_encoding": message.content_encoding,
        "headers": dict(message.headers),
        "properties": properties,
    }


@pytest.fixture
def queue(kafka: str) -> Iterator[Queue]:
    name = f"publishing-{uuid4().hex[:8]}"
    with Celery(broker=f"kafka://{kafka}", set_as_current=False) as celery:
        celery.conf.broker_transport_options = {"group_id": name, "num_partitions": 1}
        yield Queue(celery, name)


def sent_by_celery(queue: Queue, task_id: str) -> None:
    queue.celery.send_task(
        TASK_NAME,
        kwargs={"request": SEALED},
        task_id=task_id,
        queue=queue.name,
        serializer="json",
        ignore_result=False,
        argsrepr=SHOWN,
        kwargsrepr="{}",
    )


async def published(publisher: ReplayPublisher, ids: list[str]) -> None:
    for task_id in ids:
        await publisher.confirmed(captured(task_id), SEALED)


@pytest.mark.kafka
def test_a_message_is_the_one_that_celery_makes(queue: Queue) -> None:
    ids = [str(uuid4()) for _ in range(3)]
    publisher = ReplayPublisher(queue.celery, queue.name, 5)
    assert publisher.connect(captured("any"))
    asyncio.run(published(publisher, ids))
    for task_id in ids:
        sent_by_celery(queue, task_id)
    messages = queue.messages(6)
    for ours, celerys in zip(messages[:3], messages[3:], strict=True):
        # `send_task` puts what it has read into the properties once more; nobody reads that.
        assert celerys["properties"].pop("argsrepr") == SHOWN
        assert celerys["properties"].pop("kwargsrepr") == "{}"
        assert ours == celerys
    assert [message["headers"]["id"] for message in messages[:3]] == ids


@pytest.mark.kafka
@pytest.mark.parametrize("observer", ["before", "after", "event", "compression"])
def test_who_wants_to_know_of_each_message_hears_of_it(
    queue: Queue, observer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[Any] = []
    task_id = str(uuid4())

    def hear(headers: Any, **_: Any) -> None:
        heard.append(headers["id"])
        headers["heard"] = True

    if observer == "event":
        queue.celery.conf.task_send_sent_event = True
        monkeypatch.setattr(
            EventDispatcher,
            "publish",
            lambda _, __, fields, *___, **____: heard.append(fields["uuid"]),
        )
    elif observer == "compression":
        queue.celery.conf.task_compression = "gzip"
    else:
        signal = signals.before_task_publish if observer == "before" else signals.after_task_publish
        signal.connect(hear, weak=False, dispatch_uid="test")
    try:
        publisher = ReplayPublisher(queue.celery, queue.name, 5)
        assert publisher.connect(captured("any"))
        asyncio.run(published(publisher, [task_id]))
    finally:
        signals.before_task_publish.disconnect(dispatch_uid="test")
        signals.after_task_publish.disconnect(dispatch_uid="test")
    if observer == "compression":
        bodies: list[Any] = []
        with queue.celery.connection_for_read() as connection:
            bound = queue.celery.amqp.queues[queue.name](connection.default_channel)
            with connection.Consumer([bound], accept=["json"]) as consumer:
                consumer.callbacks = [lambda body, _: bodies.append(body)]
                connection.drain_events(timeout=20)
        assert bodies[0][1] == {"request": SEALED}
        return
    assert heard == [task_id]
    (message,) = queue.messages(1)
    assert message["body"][1] == {"request": SEALED}
    assert message["headers"].get("heard") == (True if observer == "before" else None)


def test_a_broker_that_confirms_nothing_by_itself_is_published_to_by_threads(
    redis_url: str,
) -> None:
    name = f"publishing-{uuid4().hex[:8]}"
    with Celery(broker=redis_url, set_as_current=False) as celery:
        publisher = ReplayPublisher(celery, name, 5)
        assert not publisher.connect(captured("any"))
        publisher.publish(captured("mine"), SEALED)
        (message,) = Queue(celery, name).messages(1)
        assert message["headers"]["id"] == message["properties"]["correlation_id"] == "mine"
        assert message["body"][1] == {"request": SEALED}


def test_a_broker_that_is_away_is_said(redis_url: str) -> None:
    broker = f"redis://127.0.0.1:{free_port()}/0"
    with Celery(broker=broker, set_as_current=False) as celery:
        publisher = ReplayPublisher(celery, "any", 2)
        with pytest.raises(BrokerUnavailableError):
            publisher.connect(captured("any"))


def test_the_first_requests_of_a_process_may_come_all_at_once(
    queue: Queue, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(redis_url=redis_url, kafka_topic=queue.name)
    sealer = Sealer(settings, "request")
    made: list[int] = []

    class Slow(ReplayPublisher):
        """Takes as long as a configuration that is read for the first time, and the later the longer."""

        def __init__(self, *args: Any) -> None:
            made.append(len(made))
            time.sleep(0.3 * len(made))
            super().__init__(*args)

    monkeypatch.setattr(celery_face, "ReplayPublisher", Slow)

    async def all_at_once(face: CeleryFace) -> None:
        requests = [captured(str(uuid4())) for _ in range(20)]
        await asyncio.gather(*(face.publish(request, b"", sealer) for request in requests))

    face = CeleryFace(queue.celery, settings)
    asyncio.run(all_at_once(face))
    face.close()
    assert made == [0]
    assert len(queue.messages(20)) == 20
