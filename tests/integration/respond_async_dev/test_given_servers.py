"""Servers that are given are used, and none is embedded in their place."""

import re
from pathlib import Path

import httpx
import pytest

from tests.support.dev_command import DevCommand


def test_a_given_redis_is_used_and_its_url_is_not_shown(
    project: Path, arguments: list[str], tmp_path: Path, redis_url: str
) -> None:
    with DevCommand(tmp_path, arguments, cwd=project, env={"REDIS_URL": redis_url}) as command:
        command.ready()
        assert "redis started" not in command.output
        assert httpx.get(f"{command.url}/env").json()["REDIS_URL"] == redis_url
        banner = command.output.partition("─" * 20)[2]
        assert re.search(r"Redis +from REDIS_URL", banner)
        assert redis_url not in banner


@pytest.mark.kafka
def test_a_given_kafka_is_used_without_the_embedded_ones_properties(
    project: Path, arguments: list[str], tmp_path: Path, redis_url: str, kafka: str
) -> None:
    env = {"REDIS_URL": redis_url, "KAFKA_BOOTSTRAP_SERVERS": kafka}
    with DevCommand(tmp_path, arguments, cwd=project, env=env) as command:
        command.ready()
        theirs = httpx.get(f"{command.url}/env").json()
        assert theirs["KAFKA_BOOTSTRAP_SERVERS"] == kafka
        assert "KAFKA_CLIENT_PROPERTIES" not in theirs
        assert "kafka started" not in command.output
        assert "librdkafka" not in command.output
