"""How many tasks are in flight can be changed while the worker runs."""

import pytest

from tests.integration.respond_async_pool.conftest import Project
from tests.support.waiting import wait_until
from tests.support.workers import Worker

WITHIN = 20


def pool(project: Project) -> dict[str, int]:
    stats = project.client.control.inspect(timeout=1).stats() or {}
    for each in stats.values():
        found: dict[str, int] = each["pool"]
        return found
    return {}


def test_the_pool_grows_and_shrinks(project: Project) -> None:
    with project.worker("-c", "2"):
        results = [project.send("nap", 4) for _ in range(12)]
        wait_until(lambda: pool(project).get("in-flight") == 2, within=WITHIN, what="2 in flight")
        project.client.control.pool_grow(4)
        wait_until(lambda: pool(project).get("in-flight") == 6, within=WITHIN, what="6 in flight")
        project.client.control.pool_shrink(5)
        wait_until(
            lambda: (
                pool(project).get("max-concurrency") == 1 and pool(project).get("in-flight") == 1
            ),
            within=WITHIN,
            what="1 in flight",
        )
        project.client.control.pool_grow(11)
        for each in results:
            each.get(timeout=60)
        wait_until(lambda: pool(project).get("in-flight") == 0, within=WITHIN, what="idle")


def test_the_pool_restarts_once_what_runs_has_ended(project: Project) -> None:
    project.configuration["worker_pool_restarts"] = True
    with project.worker("-c", "2") as worker:
        before = project.send("nap", 6)
        wait_until(lambda: pool(project).get("in-flight") == 1, within=WITHIN, what="1 in flight")
        answers = project.client.control.broadcast(
            "pool_restart", arguments={"reload": False}, reply=True, timeout=1
        )
        assert [[*each.values()] for each in answers or []] == [[{"ok": "reload started"}]]
        meanwhile = [project.send("nap", 0.01) for _ in range(20)]
        assert "the pool has restarted" not in worker.output()
        for each in (before, *meanwhile):
            each.get(timeout=30)
        wait_until(lambda: pool(project).get("in-flight") == 0, within=WITHIN, what="idle")
        assert worker.stop() == 0
        output = worker.output()
        restarted = output.index("the pool has restarted")
        assert output.index(f"{before.id}] succeeded") < restarted
        assert all(output.index(f"{each.id}] succeeded") > restarted for each in meanwhile)


def test_autoscaling_follows_the_load(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOSCALE_KEEPALIVE", "1")
    with project.worker("--autoscale", "20,2"):
        results = [project.send("nap", 3) for _ in range(20)]
        wait_until(lambda: pool(project).get("in-flight") == 20, within=WITHIN, what="20 in flight")
        for each in results:
            each.get(timeout=60)
        wait_until(
            lambda: pool(project).get("max-concurrency") == 2, within=WITHIN, what="shrunk again"
        )


def test_without_a_number_hundreds_are_in_flight(project: Project) -> None:
    del project.configuration["worker_concurrency"]
    with project.worker():
        wait_until(
            lambda: pool(project).get("max-concurrency") == 250, within=WITHIN, what="250 slots"
        )


def test_an_option_that_cannot_be_is_refused_at_the_start(project: Project) -> None:
    project.configuration["worker_asyncio_threads"] = 0
    worker: Worker = project.worker().start(wait=False)
    worker.wait_for("worker_asyncio_threads is 0: it must be a number above 0")
    worker.kill()
