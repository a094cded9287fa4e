"""A Celery worker whose broker goes away, and whose own process does."""

import time
from pathlib import Path

import pytest

from tests.support.celery_nodes import (
    KafkaBroker,
    KafkaProcess,
    RedisBackend,
    SharedServer,
    celery_setup,
)
from tests.support.kafka_server import KafkaServer
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.kafka, pytest.mark.faults]

TASKS = """\
@app.task(acks_late=True)
def nap(seconds):
    time.sleep(seconds)
    return seconds
"""


def test_a_worker_goes_on_after_its_broker_and_after_itself(
    own_kafka: KafkaServer, redis_url: str, tmp_path: Path
) -> None:
    broker = KafkaBroker(KafkaProcess(own_kafka))
    backend = RedisBackend(SharedServer("redis", redis_url))
    settings = {"worker_pool": "threads", "worker_concurrency": 2}
    with celery_setup(broker, backend, tmp_path, TASKS, settings=settings) as setup:
        assert setup.ready()

        running = setup.app.send_task("project.nap", (1,))
        setup.worker.assert_log_exists("received")
        setup.broker.kill()
        assert not setup.broker.ready()
        assert running.get(timeout=30) == 1
        setup.broker.restart()
        assert setup.app.send_task("project.nap", (0,)).get(timeout=30) == 0

        unfinished = setup.app.send_task("project.nap", (2,))
        wait_until(lambda: setup.worker.logs().count("received") == 3, within=30, what="3 tasks")
        setup.worker.kill()
        assert setup.worker.container.status == "exited"
        setup.worker.restart()
        assert unfinished.get(timeout=40) == 2
        # What was done before the kill does not run again: a result is stored before its log line.
        wait_until(
            lambda: setup.worker.logs().count("succeeded") == 3, within=10, what="3 log lines"
        )
        time.sleep(1)
        assert setup.worker.logs().count("succeeded") == 3
        assert {row["name"] for row in setup.worker.get_running_processes_info(["name"])}


def test_a_shared_server_is_not_ended_by_a_node(redis_url: str) -> None:
    backend = RedisBackend(SharedServer("redis", redis_url))
    with pytest.raises(RuntimeError, match="redis is shared"):
        backend.kill()
    backend.teardown()
    assert backend.ready()
