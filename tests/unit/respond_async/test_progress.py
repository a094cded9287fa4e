"""Progress is told at most five times a second, and of replays alone."""

import json
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from respond_async import Progress, Settings
from respond_async.later import LaterWrites, Write
from respond_async.progress import ProgressReports
from respond_async.scope import ReplayInfo

INFO = ReplayInfo(task_id="t1", accepted_at=datetime.now(UTC), channel="user.ada")


class Writes:
    """Takes the writes, and is the pipeline that they are made on."""

    def __init__(self) -> None:
        self.made: list[Write] = []
        self._told: list[dict[str, Any]] = []

    def put(self, write: Write) -> None:
        self.made.append(write)

    def told(self) -> list[dict[str, Any]]:
        for write in self.made:
            write(cast("Any", self))
        return self._told

    def eval(self, script: str, number: int, *rest: str) -> None:
        keys, args = rest[:number], rest[number:]
        assert all("user.ada" in key for key in keys)
        message = next(json.loads(one) for one in args if one.startswith("{"))
        self._told.append(json.loads(message["data"]))


@pytest.fixture
def writes() -> Writes:
    return Writes()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr("respond_async.progress.time.monotonic", lambda: now[0])
    return now


def progress(writes: Writes, info: ReplayInfo | None = INFO) -> Progress:
    return Progress(info, ProgressReports(Settings(), cast("LaterWrites", writes)))


def test_what_comes_too_soon_is_left_out(writes: Writes, clock: list[float]) -> None:
    reported = progress(writes)
    for number in range(10):
        reported.report(number / 10, f"part {number}")
        clock[0] += 0.125
    assert [told["done"] for told in writes.told()] == [0.0, 0.2, 0.4, 0.6, 0.8]


def test_the_owner_is_told_whose_progress_it_is(writes: Writes) -> None:
    progress(writes).report(7, "x" * 1000)
    (told,) = writes.told()
    assert told == {
        "task_id": "t1",
        "status": "progress",
        "action": "async_request",
        "done": 1.0,
        "detail": "x" * 200,
    }


def test_a_direct_request_tells_nobody(writes: Writes) -> None:
    progress(writes, None).report(0.5)
    assert writes.made == []
