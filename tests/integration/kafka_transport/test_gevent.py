"""Workers of greenlets: what librdkafka does in C must not stop them, nor they it."""

import time
from pathlib import Path

import pytest
from celery import Celery

from tests.support.waiting import wait_until
from tests.support.workers import Worker

pytestmark = pytest.mark.kafka

PROJECT = """\
import time
from celery import Celery
import kafka_transport

app = Celery("project")
app.conf.update({configuration!r})

@app.task(acks_late=True)
def nap(seconds):
    time.sleep(seconds)
    return seconds

@app.task(acks_late=True)
def fan_out(count):
    return [nap.delay(0).id for _ in range(count)]
"""


def test_a_gevent_worker_does_all_that_others_do(
    configuration: dict[str, object], tmp_path: Path, app: Celery
) -> None:
    (tmp_path / "project.py").write_text(PROJECT.format(configuration=configuration))
    with Worker(tmp_path, "project", "-P", "gevent", "-c", "100", "-E") as worker:
        started = time.monotonic()
        naps = [app.send_task("project.nap", (2,)) for _ in range(100)]
        assert [nap.get(timeout=30) for nap in naps] == [2] * 100
        # One after the other they would take 200 s; a hub that stands still adds its polls.
        assert time.monotonic() - started < 40
        (ids,) = [app.send_task("project.fan_out", (50,)).get(timeout=30)]
        wait_until(
            lambda: all(app.AsyncResult(i).ready() for i in ids), within=30, what="tasks of a task"
        )
        inspect = app.control.inspect(timeout=3)
        assert inspect.ping() == {"w1@test": {"ok": "pong"}}
        stats = inspect.stats()
        assert stats is not None
        assert stats["w1@test"]["total"] == {"project.nap": 150, "project.fan_out": 1}
        late = [app.send_task("project.nap", (1,)) for _ in range(20)]
        wait_until(lambda: worker.output().count("received") == 171, within=20, what="171 tasks")
        assert worker.stop() == 0
        assert [nap.get(timeout=5) for nap in late] == [1] * 20
        for fault in ("Traceback", "ERROR", "not leave group"):
            assert fault not in worker.output()


def test_an_eventlet_worker_ends_at_once_and_says_what_works(
    configuration: dict[str, object], tmp_path: Path
) -> None:
    (tmp_path / "project.py").write_text(PROJECT.format(configuration=configuration))
    worker = Worker(tmp_path, "project", "-P", "eventlet").start(wait=False)
    try:
        worker.wait_for("Unrecoverable error: PoolNotSupported")
        assert worker.process is not None
        assert worker.process.wait(20) != 0
        for pool in ("gevent", "threads", "asyncio"):
            assert pool in worker.output()
    finally:
        worker.kill()
