"""One run of a request at a time, on a real Redis."""

import os
import time
from typing import Any

import pytest
import redis

from respond_async import leases
from respond_async.leases import Leases


@pytest.fixture
def connection(redis_url: str) -> "redis.Redis":
    return redis.Redis.from_url(redis_url)


def taken_within(lease: Leases, task_id: str, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not lease.take(task_id):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_one_runs_until_it_has_given_back(connection: "redis.Redis") -> None:
    first, second = Leases(connection), Leases(connection)
    assert first.take("wait")
    assert not taken_within(second, "wait", 0.5)
    first.give_back("wait")
    assert second.take("wait")


def test_a_lease_is_renewed_while_it_is_held(
    connection: "redis.Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "LEASE_SECONDS", 1.0)
    monkeypatch.setattr(leases, "_RENEW_SECONDS", 0.2)
    first, second = Leases(connection), Leases(connection)
    assert first.take("renew")
    assert not taken_within(second, "renew", 2.5)
    first.give_back("renew")


def test_a_holder_of_this_machine_that_died_keeps_nobody_waiting(
    connection: "redis.Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    no_such_process = 2**22 + 1
    monkeypatch.setattr(os, "getpid", lambda: no_such_process)
    assert Leases(connection).take("dead")
    monkeypatch.undo()
    assert taken_within(Leases(connection), "dead", 1.0)


def test_a_holder_elsewhere_is_given_up_when_its_lease_ends(connection: "redis.Redis") -> None:
    connection.set("respond_async:running:far", "other-host|1|x", px=1500)
    lease = Leases(connection)
    started = time.monotonic()
    assert taken_within(lease, "far", 5.0)
    assert time.monotonic() - started > 1.0


def test_only_the_holder_ends_a_lease(connection: Any) -> None:
    first = Leases(connection)
    assert first.take("mine")
    connection.set("respond_async:running:mine", "other-host|1|x", px=5000)
    first.give_back("mine")
    assert connection.get("respond_async:running:mine") == b"other-host|1|x"
