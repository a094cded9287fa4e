"""What a run offers while it is up: one run, looked at by all tests here."""

import re
import shlex
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from celery import Celery
from confluent_kafka import Consumer, Producer

from tests.support.dev_command import DevCommand
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def run(
    project: Path, arguments: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DevCommand]:
    with DevCommand(tmp_path_factory.mktemp("run"), arguments, cwd=project) as command:
        yield command.ready()


@pytest.fixture(scope="module")
def env(run: DevCommand) -> dict[str, str]:
    answer: dict[str, str] = httpx.get(f"{run.url}/env").json()
    return answer


def test_the_banner_comes_once_app_flower_and_worker_answer(
    run: DevCommand, env: dict[str, str]
) -> None:
    assert httpx.get(f"{run.url}/env").status_code == 200
    assert httpx.get(f"{run.flower_url}/healthcheck").text == "OK"
    assert Celery(broker=env["REDIS_URL"]).control.ping(timeout=1)


def test_the_curl_line_works_when_pasted(run: DevCommand) -> None:
    line = re.search(r"^curl .*$", run.output, re.MULTILINE)
    assert line is not None
    pasted = subprocess.run(
        shlex.split(line.group()), capture_output=True, text=True, check=True, timeout=20
    )
    assert pasted.stdout.startswith("HTTP/1.1 200 OK")


def test_the_banner_admits_the_limits_of_the_embedded_broker(run: DevCommand) -> None:
    banner = run.output.partition("─" * 20)[2]
    for limit in ("never for production", "memory", "5 MB", "4 partitions", "3 s", "classic"):
        assert limit in banner


def test_each_line_says_which_process_wrote_it(run: DevCommand) -> None:
    before_the_banner = run.output.partition("─" * 20)[0].splitlines()
    assert before_the_banner
    for line in before_the_banner:
        assert re.match(r"\d\d:\d\d:\d\d (system|redis|kafka|worker|app|flower) +\| ?", line), line


def test_the_processes_get_a_secret_of_the_run_and_development(env: dict[str, str]) -> None:
    assert len(env["SECRET_KEY"]) >= 32
    assert env["ENVIRONMENT"] == "development"
    assert env["KAFKA_CLIENT_PROPERTIES"] == '{"fetch.wait.max.ms": 10}'


def test_the_embedded_kafka_serves_other_processes(env: dict[str, str]) -> None:
    servers = {"bootstrap.servers": env["KAFKA_BOOTSTRAP_SERVERS"]}
    sent = uuid.uuid4().hex.encode()
    producer = Producer({**servers, "acks": "all"})
    producer.produce("a-topic-of-its-own", sent)
    assert producer.flush(10) == 0
    consumer = Consumer({**servers, "group.id": "test", "auto.offset.reset": "earliest"})
    consumer.subscribe(["a-topic-of-its-own"])

    def received() -> bool:
        message = consumer.poll(0.1)
        return message is not None and message.value() == sent

    try:
        wait_until(received, within=20, what="the message")
    finally:
        consumer.close()


def test_two_runs_side_by_side_share_nothing(
    run: DevCommand, env: dict[str, str], project: Path, arguments: list[str], tmp_path: Path
) -> None:
    with DevCommand(tmp_path, arguments, cwd=project) as other:
        other.ready()
        theirs = httpx.get(f"{other.url}/env").json()
        for variable in ("REDIS_URL", "KAFKA_BOOTSTRAP_SERVERS", "SECRET_KEY"):
            assert theirs[variable] != env[variable]
