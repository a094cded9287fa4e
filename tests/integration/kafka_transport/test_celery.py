"""A Celery project that does nothing but import the transport."""

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from celery.result import AsyncResult

from tests.support.waiting import wait_until
from tests.support.workers import CELERY, Worker, celery

pytestmark = pytest.mark.kafka

PROJECT = """\
import time
from celery import Celery
from celery.result import AsyncResult
import kafka_transport

app = Celery("project")
app.conf.update({configuration!r})

@app.task(acks_late=True)
def add(x, y, seconds=0):
    time.sleep(seconds)
    return x + y
"""


@pytest.fixture
def project(configuration: dict[str, object], tmp_path: Path) -> Path:
    (tmp_path / "project.py").write_text(PROJECT.format(configuration=configuration))
    return tmp_path


def add(app: Celery, x: int, y: int, seconds: float = 0) -> AsyncResult[int]:
    return app.send_task("project.add", (x, y, seconds))


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_tasks_and_remote_control_work_in_every_pool(pool: str, project: Path, app: Celery) -> None:
    with Worker(project, "project", "-P", pool, "-c", "2") as worker:
        results = [add(app, i, 1) for i in range(20)]
        assert [r.get(timeout=20) for r in results] == list(range(1, 21))
        inspect = app.control.inspect(timeout=3)
        assert inspect.ping() == {"w1@test": {"ok": "pong"}}
        assert inspect.active() == {"w1@test": []}
        stats = inspect.stats()
        assert stats is not None
        assert stats["w1@test"]["total"] == {"project.add": 20}
        app.control.shutdown()
        assert worker.process is not None
        assert worker.process.wait(20) == 0


def test_the_command_line_works_over_kafka(project: Path) -> None:
    with Worker(project, "project", "-P", "prefork", "-c", "1", "-E"):
        assert "pong" in celery(project, "project", "inspect", "ping", "-t", "5")
        assert "empty" in celery(project, "project", "inspect", "active", "-t", "5")
        assert "w1@test: OK" in celery(project, "project", "status", "-t", "5")
        assert "pool will grow" in celery(project, "project", "control", "-t", "5", "pool_grow")
        dump = subprocess.Popen(
            [*CELERY, "-A", "project", "events", "--dump"],
            cwd=project,
            stdout=(project / "events.log").open("wb"),
            stderr=subprocess.STDOUT,
        )
        try:
            log = project / "events.log"
            wait_until(lambda: "heartbeat" in log.read_text(), within=20, what="a heartbeat")
            celery(project, "project", "call", "project.add", "-a", "[1, 2]")
            wait_until(lambda: "task succeeded" in log.read_text(), within=20, what="the event")
        finally:
            dump.send_signal(signal.SIGKILL)
            dump.wait()


def test_a_warm_shutdown_runs_nothing_twice_and_leaves_the_group(
    project: Path, app: Celery
) -> None:
    with Worker(project, "project", "-P", "threads", "-c", "4") as first:
        results = [add(app, i, 0, seconds=1) for i in range(8)]
        first.wait_for("received")
        first.stop()
        ran = first.output().count("succeeded")
        assert 1 <= ran < 8
        started = time.monotonic()
        with Worker(project, "project", "-P", "threads", "-c", "4", name="w2") as second:
            assert [r.get(timeout=20) for r in results] == list(range(8))
            assert time.monotonic() - started < 10
            # A result is stored before its log line is written; after the end all are.
            second.stop()
            assert ran + second.output().count("succeeded") == 8


def test_a_killed_workers_tasks_run_on_another(project: Path, app: Celery) -> None:
    with Worker(project, "project", "-P", "threads", "-c", "8") as first:
        results = [add(app, i, 0, seconds=2) for i in range(8)]
        wait_until(lambda: first.output().count("received") == 8, within=20, what="8 tasks")
        with Worker(project, "project", "-P", "threads", "-c", "8", name="w2"):
            first.kill()
            killed = time.monotonic()
            assert [r.get(timeout=30) for r in results] == list(range(8))
            # Six seconds until the group gives the member up, two for the tasks.
            assert time.monotonic() - killed < 15


def test_in_the_solo_pool_a_task_that_is_done_does_not_wait_for_the_next_to_be_acked(
    project: Path, app: Celery
) -> None:
    results = [add(app, i, 0, seconds=0.5) for i in range(8)]
    with Worker(project, "project", "-P", "solo", "-c", "8"), app.connection() as connection:
        channel: Any = connection.channel()
        wait_until(
            lambda: channel.queue_declare("tasks", passive=True).message_count < 8,
            within=20,
            what="the first ack",
        )
        assert sum(r.ready() for r in results) < 8
        assert [r.get(timeout=20) for r in results] == list(range(8))


def test_the_project_of_the_readme_is_ten_lines_and_runs(
    kafka: str, redis_url: str, tmp_path: Path
) -> None:
    readme = (Path(__file__).parents[3] / "README.md").read_text()
    code = readme.split("# project.py\n")[1].split("```")[0]
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    code = code.replace("localhost:9092", kafka).replace("redis://localhost:6379/0", redis_url)
    (tmp_path / "project.py").write_text(code)
    with Worker(tmp_path, "project", "-c", "1"):
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                "import project; print(project.add.delay(2, 3).get(timeout=20))",
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
    assert done.stdout.strip() == "5"


def test_a_queue_can_be_added_and_cancelled_while_the_worker_runs(
    project: Path, app: Celery
) -> None:
    with Worker(project, "project", "-P", "threads", "-c", "2"):
        waiting = app.send_task("project.add", (1, 2), queue="other")
        assert "ok" in str(app.control.add_consumer("other", reply=True, timeout=3))
        assert waiting.get(timeout=20) == 3
        assert "no longer" in str(app.control.cancel_consumer("other", reply=True, timeout=3))
        left = app.send_task("project.add", (3, 4), queue="other")
        assert add(app, 5, 6).get(timeout=20) == 11
        assert not left.ready()
        app.control.add_consumer("other", reply=True, timeout=3)
        assert left.get(timeout=20) == 7


def test_countdown_retry_and_purge_work_as_with_any_broker(project: Path, app: Celery) -> None:
    soon = app.send_task("project.add", (1, 1), countdown=3)
    for _ in range(5):
        app.send_task("project.add", (0, 0), queue="never")
    assert "5 messages" in celery(project, "project", "purge", "-f", "-Q", "never")
    with Worker(project, "project", "-P", "prefork", "-c", "1"):
        assert soon.get(timeout=20) == 2
