"""What runs when the worker ends is finished, or is the broker's again."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.integration.respond_async_pool.conftest import Project, configuration
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until
from tests.support.workers import Worker

WITHIN = 30


@pytest.fixture
def key() -> str:
    return uuid4().hex


def begun(project: Project, key: str, times: int = 1) -> None:
    wait_until(
        lambda: project.noted(key).count("begun") >= times, within=WITHIN, what=f"{times} begun"
    )


def signalled(worker: Worker, signum: int) -> None:
    assert worker.process is not None
    os.kill(worker.process.pid, signum)


def ended(worker: Worker, within: float) -> None:
    assert worker.process is not None
    worker.process.wait(within)


def test_a_warm_shutdown_finishes_what_runs_and_acks_it(project: Project, key: str) -> None:
    with project.worker() as worker:
        results = [project.send("counts", key, 2.0) for _ in range(30)]
        wait_until(
            lambda: [each.state for each in results].count("STARTED") == 30,
            within=WITHIN,
            what="30 begun",
        )
        assert worker.stop() == 0
    assert [each.state for each in results] == ["SUCCESS"] * 30
    with project.worker():
        # What was not acked would come again before this.
        assert project.send("add", 1, 1).get(timeout=WITHIN) == 2
    assert len(project.noted(key)) == 30


def test_a_warm_shutdown_that_takes_too_long_cancels_and_gives_back(
    project: Project, key: str
) -> None:
    project.configuration["worker_asyncio_shutdown_seconds"] = 1.0
    with project.worker() as worker:
        result = project.send("waits", key, 60)
        begun(project, key)
        asked = time.monotonic()
        signalled(worker, signal.SIGTERM)
        ended(worker, 10)
        assert time.monotonic() - asked > 1
        assert project.noted(key) == ["begun", "cancelled", "finally"]
        assert "1 tasks still run after 1 s of shutdown" in worker.output()
    with project.worker():
        begun(project, key, times=2)
        assert result.state in {"STARTED", "PENDING"}


def test_a_cold_shutdown_gives_back_at_once(project: Project, key: str) -> None:
    with project.worker() as worker:
        project.send("waits", key, 60)
        begun(project, key)
        signalled(worker, signal.SIGQUIT)
        ended(worker, 10)
        assert project.noted(key) == ["begun", "cancelled", "finally"]
    with project.worker():
        begun(project, key, times=2)


def test_a_task_that_hangs_in_a_thread_does_not_keep_the_worker(project: Project) -> None:
    project.configuration["worker_asyncio_shutdown_seconds"] = 1.0
    with project.worker() as worker:
        result = project.send("plain_nap", 60)
        wait_until(lambda: result.state == "STARTED", within=WITHIN, what="its begin")
        signalled(worker, signal.SIGTERM)
        ended(worker, 10)


def test_what_lives_on_the_loop_is_ended_on_it(project: Project) -> None:
    with project.worker() as worker:
        project.send("add", 1, 1).get(timeout=WITHIN)
        assert worker.process is not None
        pid = worker.process.pid
        assert project.noted(f"goodbye-{pid}") == []
        assert worker.stop() == 0
    assert project.noted(f"goodbye-{pid}") == ["True"]


@pytest.mark.parametrize("many", [300, pytest.param(5000, marks=pytest.mark.long)])
def test_a_killed_worker_loses_no_task_in_flight(
    project: Project, broker: str, key: str, many: int
) -> None:
    # Celery's Redis transport gives back some ten messages every ten seconds.
    number = 10 if broker == "redis" else many
    project.configuration["worker_concurrency"] = number
    with project.worker() as worker:
        results = [project.send("counts", key, 2.0 + number / 100) for _ in range(number)]
        wait_until(
            lambda: [each.state for each in results].count("STARTED") == number,
            within=max(WITHIN, number / 20),
            every=0.05 + number / 1000,
            what="all begun",
        )
        worker.kill()
    assert project.noted(key) == []
    with project.worker():
        for each in results:
            each.get(timeout=max(90, number / 20))
    assert len(project.noted(key)) >= number


@pytest.fixture
def results_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("results")) as server:
        yield server


def test_a_result_is_stored_before_the_ack_and_storing_blocks_nobody(
    results_server: RedisServer, redis_url: str, tmp_path: Path, key: str
) -> None:
    settings = configuration("redis", redis_url) | {
        "result_backend": results_server.url,
        "task_track_started": False,
    }
    project = Project(tmp_path, settings)
    broker = project.client.connection_for_read()
    assert results_server.process is not None
    with project.worker():
        project.send("add", 1, 1).get(timeout=WITHIN)
        wait_until(lambda: unacked(broker) == 0, within=WITHIN, what="the first ack")
        results_server.process.send_signal(signal.SIGSTOP)
        try:
            result = project.client.send_task("project.counts", (key, 0))
            wait_until(lambda: project.noted(key) == ["ran"], within=WITHIN, what="its run")
            for n in range(5):
                project.client.send_task("project.counts_without_result", (f"{key}-{n}",))
            wait_until(
                lambda: all(project.noted(f"{key}-{n}") for n in range(5)),
                within=WITHIN,
                what="the others",
            )
            wait_until(lambda: unacked(broker) == 1, within=WITHIN, what="the others' acks")
        finally:
            results_server.process.send_signal(signal.SIGCONT)
        result.get(timeout=WITHIN)
        wait_until(lambda: unacked(broker) == 0, within=WITHIN, what="the ack")
    broker.release()
    project.close()


def unacked(broker: object) -> int:
    client = broker.default_channel.client  # type: ignore[attr-defined]
    return int(client.hlen("unacked"))
