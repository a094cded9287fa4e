"""Workers of the small project in `project.py`, on the asyncio pool."""

import json
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery

import kafka_transport
from tests.support.workers import Worker

PROJECT = Path(__file__).with_name("project.py")

Configure = Callable[..., dict[str, Any]]


class Project:
    """One worker's directory and configuration, and a client that knows the tasks by name."""

    def __init__(self, directory: Path, configuration: dict[str, Any]) -> None:
        shutil.copy(PROJECT, directory)
        self.directory = directory
        self.configuration = configuration
        self.client = Celery("client", set_as_current=False)
        self.client.conf.update(configuration)
        self.notes = redis.Redis.from_url(configuration["project_notes"], decode_responses=True)
        self._workers = 0

    def worker(self, *options: str) -> Worker:
        self._workers += 1
        return Worker(
            self.directory,
            "project",
            *options,
            name=f"w{self._workers}-{uuid.uuid4().hex[:6]}",
            environment={"PROJECT_CONFIGURATION": json.dumps(self.configuration)},
        )

    def send(self, name: str, *args: Any, **options: Any) -> Any:
        return self.client.send_task(f"project.{name}", args, **options)

    def noted(self, key: str) -> list[str]:
        return [str(each) for each in self.notes.lrange(key, 0, -1)]

    def close(self) -> None:
        self.client.close()
        self.notes.close()


def configuration(broker: str, redis_url: str) -> dict[str, Any]:
    name = f"pool-{uuid.uuid4().hex[:8]}"
    common: dict[str, Any] = {
        "result_backend": redis_url.removesuffix("/0") + "/7",
        "project_notes": redis_url.removesuffix("/0") + "/9",
        "worker_pool": "respond_async.pool:AsyncioPool",
        "worker_concurrency": 100,
        "worker_prefetch_multiplier": 1,
        "worker_asyncio_grace_seconds": 1.0,
        "worker_asyncio_blocked_seconds": 0.5,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "broker_connection_retry_on_startup": True,
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "task_default_queue": name,
        "worker_send_task_events": True,
        "task_track_started": True,
    }
    if broker == "redis":
        # A short visibility timeout: the only way in which Redis gives back what was not acked.
        return common | {
            "broker_url": redis_url.removesuffix("/0") + "/8",
            "broker_transport_options": {
                "visibility_timeout": 10,
                "unacked_restore_interval": 1,
                "unacked_restore_throttle": 1,
            },
        }
    return common | {
        "broker_url": f"{kafka_transport.SCHEME}://{broker}",
        "broker_transport_options": {
            "group_id": name,
            "topic_prefix": name + ".",
            "num_partitions": 4,
            "kafka_consumer_config": {"session.timeout.ms": 6000},
        },
    }


@pytest.fixture(scope="module", params=["redis", pytest.param("kafka", marks=pytest.mark.kafka)])
def broker(request: pytest.FixtureRequest) -> str:
    """`redis`, or the bootstrap servers of a Kafka."""
    if request.param == "redis":
        return "redis"
    servers: str = request.getfixturevalue("kafka")
    return servers


@pytest.fixture
def project(broker: str, redis_url: str, tmp_path: Path) -> Iterator[Project]:
    """A project of the test's own, with no worker yet."""
    project = Project(tmp_path, configuration(broker, redis_url))
    yield project
    project.close()


@pytest.fixture(scope="module")
def shared(
    broker: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Project, Worker]]:
    """A project with one worker for all tests of a module."""
    project = Project(tmp_path_factory.mktemp("project"), configuration(broker, redis_url))
    with project.worker() as worker:
        yield project, worker
    project.close()
