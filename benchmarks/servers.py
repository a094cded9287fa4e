"""Kafka and Redis for a benchmark."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.kafka_server import KafkaServer
from tests.support.redis_server import RedisServer


@contextmanager
def servers(directory: Path) -> Iterator[tuple[str, str]]:
    """Kafka's bootstrap servers and Redis' URL; those of the environment, or started here."""
    (directory / "redis").mkdir()
    with RedisServer(directory / "redis") as redis:
        given = os.environ.get("KAFKA_TEST_BOOTSTRAP_SERVERS")
        if given:
            yield given, redis.url
            return
        with KafkaServer(directory) as kafka:
            yield kafka.bootstrap_servers, redis.url
