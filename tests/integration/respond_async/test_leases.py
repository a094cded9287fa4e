"""One run of a request at a time, on a real Redis."""

import os
import time
from typing import Any

import pytest
import redis
from celery import Celery
from celery.backends.base import Backend

from respond_async import Settings, leases
from respond_async.leases import Leases
from respond_async.runs import Begun, Runs
from respond_async.scripts import Scripts


@pytest.fixture
def connection(redis_url: str) -> "redis.Redis":
    return redis.Redis.from_url(redis_url)


class Process:
    """What begins and ends runs in one process."""

    def __init__(self, redis_url: str) -> None:
        settings = Settings(redis_url=redis_url)
        scripts = Scripts(settings)
        self.runs = Runs(settings, scripts, Leases(scripts))
        self.backend: Backend = Celery(backend=redis_url, set_as_current=False).backend

    def begun(self, task_id: str) -> Begun:
        return self.runs.begin(task_id, self.backend)

    def begun_within(self, task_id: str, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not self.begun(task_id).alone:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True


def test_one_runs_until_it_has_given_back(redis_url: str) -> None:
    first, second = Process(redis_url), Process(redis_url)
    assert first.begun("wait").alone
    assert not second.begun_within("wait", 0.5)
    first.runs.leave("wait")
    assert second.begun("wait").alone


def test_the_same_process_does_not_run_it_beside_itself(redis_url: str) -> None:
    process = Process(redis_url)
    assert process.begun("twice").alone
    assert not process.begun("twice").alone
    process.runs.leave("twice")
    assert process.begun("twice").alone


def test_waiting_is_no_delivery_that_was_begun(redis_url: str) -> None:
    first, second = Process(redis_url), Process(redis_url)
    assert first.begun("count").delivery == 1
    for _ in range(3):
        assert not second.begun("count").alone
    first.runs.leave("count")
    assert second.begun("count").delivery == 2


def test_a_result_and_a_withdrawal_are_seen(redis_url: str, connection: "redis.Redis") -> None:
    process = Process(redis_url)
    assert process.begun("fresh") == (True, False, False, 1)
    connection.set("celery-task-meta-stored", "{}")
    assert process.begun("stored") == (True, False, True, 1)
    connection.set("respond_async:withdrawn:refused", "1")
    assert process.begun("refused").withdrawn


def test_a_result_in_another_database_is_asked_for(redis_url: str) -> None:
    process = Process(redis_url)
    process.backend = Celery(
        backend=redis_url.removesuffix("/0") + "/1", set_as_current=False
    ).backend
    assert process.begun("elsewhere").may_have_result


def test_a_lease_is_renewed_while_it_is_held(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("respond_async.runs.LEASE_SECONDS", 1.0)
    monkeypatch.setattr(leases, "LEASE_SECONDS", 1.0)
    monkeypatch.setattr(leases, "_RENEW_SECONDS", 0.2)
    monkeypatch.setattr(leases, "_AT_ONCE", 2)
    first, second = Process(redis_url), Process(redis_url)
    names = [f"renew-{number}" for number in range(5)]
    assert all(first.begun(name).alone for name in names)
    assert not second.begun_within(names[0], 2.5)
    assert not any(second.begun(name).alone for name in names)
    for name in names:
        first.runs.leave(name)


def test_a_holder_of_this_machine_that_died_keeps_nobody_waiting(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_such_process = 2**22 + 1
    monkeypatch.setattr(os, "getpid", lambda: no_such_process)
    assert Process(redis_url).begun("dead").alone
    monkeypatch.undo()
    assert Process(redis_url).begun("dead").alone


def test_a_holder_elsewhere_is_given_up_when_its_lease_ends(
    redis_url: str, connection: "redis.Redis"
) -> None:
    connection.set("respond_async:running:far", "other-host|1|x", px=1500)
    started = time.monotonic()
    assert Process(redis_url).begun_within("far", 5.0)
    assert time.monotonic() - started > 1.0


def test_only_the_holder_ends_a_lease(redis_url: str, connection: Any) -> None:
    first = Process(redis_url)
    assert first.begun("mine").alone
    connection.set("respond_async:running:mine", "other-host|1|x", px=5000)
    first.runs.leave("mine")
    assert connection.get("respond_async:running:mine") == b"other-host|1|x"


def test_a_redis_that_forgot_the_scripts_is_taught_them_again(
    redis_url: str, connection: Any
) -> None:
    process = Process(redis_url)
    assert process.begun("before").alone
    connection.script_flush()
    assert process.begun("after").alone
