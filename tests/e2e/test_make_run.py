"""`make run`: the repository's own service, from one command, as a newcomer uses it."""

import json
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator

import httpx
import pytest
from websockets.sync.client import connect

from tests.support.dev_command import DevCommand
from tests.support.waiting import wait_until

pytestmark = pytest.mark.e2e

#: The embedded broker's first join of a consumer group takes some 3 s of it.
ANSWER_SECONDS = 30


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevCommand]:
    with DevCommand(
        tmp_path_factory.mktemp("make-run"), program=("-m", "respond_async", "dev")
    ) as command:
        yield command.ready(within=90)


def curl(line: str) -> tuple[int, dict[str, str], dict[str, object]]:
    """Status, headers and JSON body of a pasted line with `curl -i`."""
    pasted = subprocess.run(
        shlex.split(line), capture_output=True, text=True, check=True, timeout=20
    ).stdout
    head, _, body = pasted.partition("\n\n")
    status, *fields = head.splitlines()
    headers = {name.lower(): value for name, value in (f.split(": ", 1) for f in fields)}
    return int(status.split()[1]), headers, json.loads(body)


def try_the_banners_line(run: DevCommand) -> None:
    line = re.search(r"^curl .*$", run.output, re.MULTILINE)
    assert line is not None
    status, headers, body = curl(line.group())
    assert status == 202
    meta = body["meta"]
    assert isinstance(meta, dict)
    result = httpx.URL(run.url).join(headers["location"])
    proof = {"X-Async-Request": meta["channel"]}

    def done() -> httpx.Response | None:
        answer = httpx.get(result, headers=proof)
        assert answer.status_code in {200, 202}, answer.text
        return answer if answer.status_code == 200 else None

    answer = wait_until(done, within=ANSWER_SECONDS, every=0.2, what="the result")
    assert answer is not None
    envelope = answer.json()
    assert envelope["task_id"] == meta["async_request_id"]
    assert envelope["status"] == 200
    assert envelope["endpoint"] == "/api/v1/demo/sleep?seconds=2"


def test_the_banners_curl_line_gives_202_and_then_the_result(run: DevCommand) -> None:
    try_the_banners_line(run)


@pytest.mark.kafka
def test_the_same_with_given_servers(
    tmp_path_factory: pytest.TempPathFactory, kafka: str, redis_url: str
) -> None:
    # A topic and group of its own: other tests have theirs on the same broker.
    env = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka,
        "REDIS_URL": redis_url,
        "KAFKA_TOPIC": "make-run",
        "KAFKA_GROUP_ID": "make-run",
    }
    with DevCommand(tmp_path_factory.mktemp("given"), env=env) as command:
        command.ready(within=90)
        assert "kafka started" not in command.output
        assert "redis started" not in command.output
        try_the_banners_line(command)
        command.signal(signal.SIGINT)
        assert command.end() == 0
        command.assert_nothing_survives()


def test_the_websocket_tells_when_it_is_done(run: DevCommand) -> None:
    channel = "make-run-" + "0123456789abcdef"
    with connect(f"ws://127.0.0.1:{run.port}/ws?channel={channel}") as socket:
        assert json.loads(socket.recv(10))["type"] == "subscribed"
        accepted = httpx.get(
            f"{run.url}/api/v1/demo/sleep?seconds=0", headers={"X-Async-Request": channel}
        )
        assert accepted.status_code == 202
        message = json.loads(socket.recv(ANSWER_SECONDS))
        while message["type"] == "ping":
            message = json.loads(socket.recv(ANSWER_SECONDS))
    assert json.loads(message["data"]) == {
        "task_id": accepted.json()["meta"]["async_request_id"],
        "status": "completed",
        "action": "async_request",
    }


def test_flower_sees_the_worker_over_the_embedded_kafka(run: DevCommand) -> None:
    wait_until(
        lambda: (
            'flower_worker_online{worker="celery@' in httpx.get(f"{run.flower_url}/metrics").text
        ),
        within=ANSWER_SECONDS,
        what="an event of the worker's at Flower",
    )


def test_development_mode_gives_a_token_to_try_with(run: DevCommand) -> None:
    token = httpx.post(f"{run.url}/api/v1/demo/token", json={"sub": "ada"})
    assert token.status_code == 200, token.text


def test_ctrl_c_in_make_run_ends_every_child_and_a_second_run_starts_cleanly(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("twice")
    with DevCommand(folder) as first:
        first.ready(within=90)
        first.signal(signal.SIGINT)
        assert first.end() == 0
        first.assert_nothing_survives()
        assert not list(first.temporary.iterdir())
    with DevCommand(folder, ports=(first.port, first.flower_port)) as second:
        second.ready(within=90)
        second.signal(signal.SIGTERM)
        assert second.end() == 0
        second.assert_nothing_survives()


def test_a_worker_that_is_killed_ends_the_run_with_one_line(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with DevCommand(tmp_path_factory.mktemp("killed")) as command:
        command.ready(within=90)
        command.child("worker").kill()
        assert command.end() == 1
        assert command.errors == [
            "respond-async: worker ended by itself (signal SIGKILL): its last lines above say why"
        ]
        command.assert_nothing_survives()


def test_a_worker_lifetime_ends_no_run(tmp_path_factory: pytest.TempPathFactory) -> None:
    lifetime = {"WORKER_LIFETIME_SECONDS": "5"}
    with DevCommand(tmp_path_factory.mktemp("lifetime"), env=lifetime) as command:
        command.wait_for("worker started", times=2, within=90)
        command.ready(within=90)
        command.wait_for("worker started", times=3, within=90)
        command.signal(signal.SIGINT)
        assert command.end() == 0
        command.assert_nothing_survives()
