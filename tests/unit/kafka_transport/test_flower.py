"""Flower's part of the transport: the factory of brokers, and what a killed worker left untold."""

import asyncio
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery, states
from flower.events import EventsState
from flower.utils.broker import Broker, Redis

from kafka_transport import flower, flower_lost

WORKER = "victim@test"


class Loop:
    """Flower's loop, as far as it is asked for threads."""

    async def run_in_executor(self, _: None, function: Any, *args: Any) -> Any:
        return await asyncio.to_thread(function, *args)


@pytest.fixture
def app() -> Iterator[Celery]:
    with Celery("t", backend="cache+memory://", set_as_current=False) as app:
        yield app


@pytest.fixture
def events(app: Celery) -> Any:
    return SimpleNamespace(
        capp=app,
        io_loop=Loop(),
        state=EventsState(max_tasks_in_memory=100, max_workers_in_memory=9),
    )


def heartbeat(events: Any, name: str, seconds_ago: float) -> None:
    at = time.time() - seconds_ago
    events.state.event(
        {"type": "worker-heartbeat", "hostname": name, "timestamp": at, "local_received": at,
         "clock": 1, "freq": 2.0}
    )  # fmt: skip


def received(events: Any, name: str, seconds_ago: float) -> str:
    task_id, at = str(uuid4()), time.time() - seconds_ago
    events.state.event(
        {"type": "task-received", "uuid": task_id, "name": "t.add", "hostname": name,
         "timestamp": at, "local_received": at, "clock": 2}
    )  # fmt: skip
    return task_id


def look(events: Any) -> None:
    asyncio.run(flower_lost.LostTasks(events).look())


def test_kafka_is_one_of_flowers_brokers_and_the_others_are_as_they_were() -> None:
    for _ in range(2):
        flower.register()
    for url in ("kafka://k1:9092,k2:9092//", "kafkas://ann:p%40ss@k1:9092"):
        assert isinstance(Broker(url), flower.KafkaQueues)
    assert isinstance(Broker("redis://localhost"), Redis)
    with pytest.raises(NotImplementedError):
        Broker("sqs://localhost")


def test_what_a_killed_worker_had_finished_ends_in_flower_too(events: Any, app: Celery) -> None:
    heartbeat(events, WORKER, 30)
    done, failed, waits = (received(events, WORKER, 30) for _ in range(3))
    app.backend.store_result(done, 5, states.SUCCESS)
    app.backend.store_result(failed, ValueError("no"), states.FAILURE, traceback="Traceback ...")
    look(events)
    tasks = events.state.tasks
    assert tasks[done].state == states.SUCCESS
    assert (tasks[failed].state, tasks[failed].exception) == (states.FAILURE, "ValueError('no')")
    assert tasks[waits].state == states.RECEIVED
    assert not events.state.workers[WORKER].alive
    assert events.state.counter[WORKER]["task-succeeded"] == 1
    look(events)
    assert events.state.counter[WORKER]["task-succeeded"] == 1


def test_a_task_of_which_only_the_sending_is_known_ends_too(events: Any, app: Celery) -> None:
    heartbeat(events, WORKER, 30)
    task_id, at = str(uuid4()), time.time()
    events.state.event(
        {"type": "task-sent", "uuid": task_id, "name": "t.add", "hostname": "client",
         "timestamp": at, "local_received": at, "clock": 2}
    )  # fmt: skip
    app.backend.store_result(task_id, 5, states.SUCCESS)
    look(events)
    task = events.state.tasks[task_id]
    assert (task.state, task.worker.hostname) == (states.SUCCESS, WORKER)


@pytest.mark.parametrize("seconds_ago", [0, 1000])
def test_a_worker_that_lives_or_is_long_gone_is_not_looked_after(
    events: Any, app: Celery, seconds_ago: float
) -> None:
    heartbeat(events, WORKER, seconds_ago)
    running = received(events, WORKER, seconds_ago)
    app.backend.store_result(running, 5, states.SUCCESS)
    look(events)
    assert events.state.tasks[running].state == states.RECEIVED


def test_without_a_result_backend_nothing_is_asked(events: Any) -> None:
    events.capp = Celery("t", set_as_current=False)
    heartbeat(events, WORKER, 30)
    task_id = received(events, WORKER, 30)
    asyncio.run(flower_lost.LostTasks(events).look())
    assert events.state.tasks[task_id].state == states.RECEIVED
