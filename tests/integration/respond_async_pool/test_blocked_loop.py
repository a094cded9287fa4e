"""Careless endpoints: a blocked loop is noticed and named, and the worker lives on."""

import pytest

from tests.integration.respond_async_pool.conftest import Project
from tests.support.waiting import wait_until
from tests.support.workers import Worker

Shared = tuple[Project, Worker]
WITHIN = 20


@pytest.mark.parametrize("task", ["blocks", "blocks_in_child"])
def test_a_task_that_blocks_the_loop_is_named(shared: Shared, task: str) -> None:
    project, worker = shared
    result = project.send(task, 2)
    result.get(timeout=WITHIN)
    output = worker.output()
    assert f"by project.{task}[{result.id}] (2,): no other task goes on" in output
    assert "time.sleep(seconds)" in output
    worker.wait_for("the event loop goes on; it was blocked for")


def test_remote_control_and_plain_tasks_go_on_meanwhile(shared: Shared) -> None:
    project, _ = shared
    blocking = project.send("blocks", 8)
    control = project.client.control
    stats = wait_until(
        lambda: [
            each["pool"]
            for each in (control.inspect(timeout=1).stats() or {}).values()
            if each["pool"]["loop-lag-seconds"] > 1
        ],
        within=6,
        what="the loop's lag in the statistics",
    )
    assert stats[0]["times-blocked"] >= 1
    assert control.inspect(timeout=1).ping()
    assert project.send("plain_add", 1, 1).get(timeout=1.5) == 2
    active = next(iter((control.inspect(timeout=1).active() or {}).values()))
    assert blocking.id in [each["id"] for each in active]
    blocking.get(timeout=WITHIN)


def test_the_statistics_say_what_runs(shared: Shared) -> None:
    project, _ = shared
    napping = [project.send("nap", 6) for _ in range(7)]

    def seven() -> bool:
        stats = project.client.control.inspect(timeout=1).stats() or {}
        return any(each["pool"]["in-flight"] == 7 for each in stats.values())

    wait_until(seven, within=5, what="seven in flight")
    stats = next(iter((project.client.control.inspect(timeout=1).stats() or {}).values()))["pool"]
    assert stats["max-concurrency"] == 100
    assert stats["event-loop"] in {"uvloop", "asyncio"}
    assert stats["implementation"] == "respond_async.pool.pool:AsyncioPool"
    for each in napping:
        each.get(timeout=WITHIN)
