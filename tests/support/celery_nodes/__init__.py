"""pytest-celery's nodes as local processes: Kafka, Redis and Celery workers without a container.

A node of pytest-celery wraps a container and asks little of it; `process.LocalProcess` is that
little. `setup.celery_setup` starts them as one.
"""

from tests.support.celery_nodes.nodes import (
    KafkaBroker,
    ProcessSetup,
    ProcessWorker,
    RedisBackend,
)
from tests.support.celery_nodes.process import (
    KafkaProcess,
    LocalProcess,
    RedisProcess,
    SharedServer,
    WorkerProcess,
)
from tests.support.celery_nodes.setup import celery_setup

__all__ = [
    "KafkaBroker",
    "KafkaProcess",
    "LocalProcess",
    "ProcessSetup",
    "ProcessWorker",
    "RedisBackend",
    "RedisProcess",
    "SharedServer",
    "WorkerProcess",
    "celery_setup",
]
