"""Revokes and time limits end the coroutine, and Celery's status and events say so."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import pytest
from celery.exceptions import TaskRevokedError, TimeLimitExceeded

from tests.integration.respond_async_pool.conftest import Project
from tests.support.waiting import wait_until
from tests.support.workers import Worker

Shared = tuple[Project, Worker]
WITHIN = 20


@pytest.fixture
def key() -> str:
    return uuid4().hex


@contextmanager
def events(project: Project) -> Iterator[Callable[[str], list[str]]]:
    """The types of the events of a task, as they come in."""
    seen: list[dict[str, Any]] = []
    ready, stop = threading.Event(), threading.Event()

    def listen() -> None:
        with project.client.connection_for_read() as connection:
            receiver = project.client.events.Receiver(connection, handlers={"*": seen.append})
            with receiver.consumer_context() as (drained, _channel, _consumers):
                ready.set()
                while not stop.is_set():
                    try:
                        drained.drain_events(timeout=0.2)
                    except TimeoutError:
                        continue

    thread = threading.Thread(target=listen)
    thread.start()
    assert ready.wait(WITHIN)
    try:
        yield lambda task_id: [e["type"] for e in list(seen) if e.get("uuid") == task_id]
    finally:
        stop.set()
        thread.join()


def begun(project: Project, key: str) -> None:
    wait_until(lambda: project.noted(key), within=WITHIN, what="the task's begin")


def test_a_revoked_task_is_cancelled_where_it_waits(shared: Shared, key: str) -> None:
    project, _ = shared
    with events(project) as types:
        result = project.send("waits", key, 60)
        begun(project, key)
        result.revoke(terminate=True)
        with pytest.raises(TaskRevokedError, match="terminated"):
            result.get(timeout=WITHIN)
        assert result.state == "REVOKED"
        wait_until(
            lambda: project.noted(key) == ["begun", "cancelled", "finally"],
            within=WITHIN,
            what="its finally block",
        )
        wait_until(lambda: "task-revoked" in types(result.id), within=WITHIN, what="the event")
        assert "task-succeeded" not in types(result.id)


def test_a_revoked_plain_task_stores_no_result_of_its_own(shared: Shared) -> None:
    project, worker = shared
    result = project.send("plain_nap", 2.5)
    wait_until(lambda: result.state == "STARTED", within=WITHIN, what="its begin")
    result.revoke(terminate=True)
    worker.wait_for(f"plain_nap[{result.id}] (2.5,) was cancelled and does not end")
    worker.wait_for(f"plain_nap[{result.id}] (2.5,), given up before, ended")
    assert result.state == "REVOKED"


def test_a_soft_time_limit_is_an_exception_the_task_can_catch(shared: Shared, key: str) -> None:
    project, worker = shared
    result = project.send("waits", key, 60, soft_time_limit=1)
    assert result.get(timeout=WITHIN) == "tidied"
    assert project.noted(key) == ["begun", "soft", "finally"]
    assert f"Soft time limit (1s) exceeded for project.waits[{result.id}]" in worker.output()


def test_a_soft_time_limit_that_is_not_caught_fails_the_task(shared: Shared) -> None:
    result = shared[0].send("nap", 60, soft_time_limit=1)
    with pytest.raises(Exception, match="SoftTimeLimitExceeded"):
        result.get(timeout=WITHIN)
    assert result.state == "FAILURE"


def test_a_hard_time_limit_cancels_and_fails_the_task(shared: Shared, key: str) -> None:
    project, _ = shared
    with events(project) as types:
        result = project.send("waits", key, 60, time_limit=1)
        with pytest.raises(TimeLimitExceeded):
            result.get(timeout=WITHIN)
        wait_until(
            lambda: project.noted(key) == ["begun", "cancelled", "finally"],
            within=WITHIN,
            what="its finally block",
        )
        wait_until(lambda: "task-failed" in types(result.id), within=WITHIN, what="the event")
    assert result.state == "FAILURE"


def test_a_hard_time_limit_is_told_while_another_task_blocks_the_loop(
    shared: Shared, key: str
) -> None:
    project, _ = shared
    result = project.send("waits", key, 60, time_limit=1)
    begun(project, key)
    blocking = project.send("blocks", 6)
    wait_until(lambda: blocking.state == "STARTED" or _blocked(project), within=5, what="block")
    with pytest.raises(TimeLimitExceeded):
        result.get(timeout=4)
    assert blocking.state != "SUCCESS"
    blocking.get(timeout=WITHIN)


def test_a_task_that_refuses_to_die_is_given_up_and_cannot_change_its_end(
    shared: Shared, key: str
) -> None:
    project, worker = shared
    result = project.send("refuses_to_die", key, 3, time_limit=1)
    with pytest.raises(TimeLimitExceeded):
        result.get(timeout=WITHIN)
    worker.wait_for(f"refuses_to_die[{result.id}]")
    worker.wait_for("was cancelled and does not end: it is given up after 1 s, its slot is free")
    wait_until(lambda: project.noted(key)[-1] == "done", within=WITHIN, what="its late end")
    worker.wait_for("given up before, ended")
    project.send("add", 1, 1).get(timeout=WITHIN)
    assert project.client.AsyncResult(result.id).state == "FAILURE"


def test_a_revoked_task_that_waits_for_a_slot_is_never_begun(project: Project, key: str) -> None:
    with project.worker("-c", "1"):
        first = project.send("nap", 2)
        wait_until(lambda: first.state == "STARTED", within=WITHIN, what="the first task")
        second = project.send("counts", key, 0)
        second.revoke()
        with pytest.raises(TaskRevokedError):
            second.get(timeout=WITHIN)
        assert project.send("add", 1, 1).get(timeout=WITHIN) == 2
    assert project.noted(key) == []


def _blocked(project: Project) -> bool:
    stats = project.client.control.inspect(timeout=0.5).stats() or {}
    return any(each["pool"]["times-blocked"] for each in stats.values())
