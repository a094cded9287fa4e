"""A whole setup of pytest-celery, up for as long as a `with` block lasts."""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pytest_celery import CeleryBackendCluster, CeleryBrokerCluster, CeleryWorkerCluster

from tests.support.celery_nodes.nodes import KafkaBroker, ProcessSetup, ProcessWorker, RedisBackend
from tests.support.celery_nodes.process import WorkerProcess
from tests.support.workers import Worker

#: Before the tasks of a project; its module is named `project`.
HEAD = """\
import time
from celery import Celery, group
import kafka_transport

app = Celery("project")
app.conf.update({configuration!r})

"""


@contextmanager
def celery_setup(
    broker: KafkaBroker,
    backend: RedisBackend,
    directory: Path,
    tasks: str,
    *,
    workers: Sequence[Sequence[str]] = ((),),
    settings: Mapping[str, Any] | None = None,
) -> Iterator[ProcessSetup]:
    """Workers that run `tasks`, the text of a module, each with its options of the command line.

    Topics and the consumer group are the setup's own, so the broker can be shared.
    """
    prefix = f"t{uuid.uuid4().hex[:8]}."
    brokers, backends = CeleryBrokerCluster(broker), CeleryBackendCluster(backend)
    clusters = {
        "celery_broker_cluster_config": brokers.config(),
        "celery_backend_cluster_config": backends.config(),
    }
    configuration = {
        **ProcessSetup.config(clusters),
        "task_default_queue": "tasks",
        "worker_prefetch_multiplier": 1,
        "broker_transport_options": {"topic_prefix": prefix, "group_id": prefix + "group"},
        **(settings or {}),
    }
    (directory / "project.py").write_text(HEAD.format(configuration=configuration) + tasks)
    nodes = [
        ProcessWorker(
            WorkerProcess(Worker(directory, "project", *options, name=f"w{number}"), "tasks")
        )
        for number, options in enumerate(workers, 1)
    ]
    app = ProcessSetup.create_setup_app(configuration, "project")
    setup = ProcessSetup(CeleryWorkerCluster(*nodes), brokers, backends, app)
    try:
        for node in nodes:
            node.process.start()
        yield setup
    finally:
        setup.teardown()
