"""pytest-celery's nodes and setup over local processes."""

import gc
from typing import Any

import psutil
from celery import Celery
from pytest_celery import (
    CeleryTestBackend,
    CeleryTestBroker,
    CeleryTestSetup,
    CeleryTestWorker,
)

from tests.support.celery_nodes.process import (
    KafkaProcess,
    RedisProcess,
    SharedServer,
    WorkerProcess,
)


class KafkaBroker(CeleryTestBroker):  # type: ignore[misc]
    """Kafka as Celery's broker, through this project's transport."""

    def __init__(self, process: KafkaProcess | SharedServer, app: Celery | None = None) -> None:
        super().__init__(process, app)


class RedisBackend(CeleryTestBackend):  # type: ignore[misc]
    """Redis as Celery's result backend."""

    def __init__(self, process: RedisProcess | SharedServer, app: Celery | None = None) -> None:
        super().__init__(process, app)


class ProcessWorker(CeleryTestWorker):  # type: ignore[misc]
    """A worker; its name and queue are what its command line says."""

    def __init__(self, process: WorkerProcess, app: Celery | None = None) -> None:
        super().__init__(process, app)
        self.process = process

    @property
    def version(self) -> str:
        return "local"

    @property
    def log_level(self) -> str:
        return "INFO"

    @property
    def worker_name(self) -> str:
        return self.process.name

    @property
    def worker_queue(self) -> str:
        return self.process.queue

    def hostname(self) -> str:
        """As `celery inspect` names it."""
        return f"{self.worker_name}@test"

    def get_running_processes_info(
        self, columns: list[str] | None = None, filters: dict[str, str] | None = None
    ) -> list[dict[str, Any]]:
        """The worker and its pool, as psutil sees them."""
        worker = psutil.Process(int(self.process.id))
        found = [p.as_dict(columns) for p in (worker, *worker.children(recursive=True))]
        return [
            row
            for row in found
            if all(row.get(key) == value for key, value in (filters or {}).items())
        ]


class ProcessSetup(CeleryTestSetup):  # type: ignore[misc]
    """A broker, a backend, workers, and an app that is their client."""

    def ready(self, ping: bool = False, control: bool = True, docker: bool = True) -> bool:
        """Whether the processes run and the workers answer; `docker` is the processes."""
        return bool(super().ready(ping=ping, control=control, docker=docker))

    def teardown(self) -> None:
        """Ends the workers, then the servers that are the setup's own."""
        # A result unsubscribes when it is collected; later there may be no Redis to tell.
        gc.collect()
        clusters = (self.worker_cluster, self.broker_cluster, self.backend_cluster)
        for node in (node for cluster in clusters for node in cluster or ()):
            node.teardown()
        self.app.close()
