"""`celery -A project kafka ...`, as it is typed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from kombu import Connection, Queue

import kafka_transport
from kafka_transport.cluster import Cluster
from kafka_transport.durable import DurableQueues
from kafka_transport.errors import KafkaTransportError
from kafka_transport.operations import DeadLetters, QueueLag, dead_letters, lag
from tests.support.messages import Collector
from tests.support.ports import free_port
from tests.support.waiting import wait_until
from tests.support.workers import CELERY, Worker

pytestmark = pytest.mark.kafka

Connect = Callable[..., Connection]
TASKS = Queue("tasks", routing_key="tasks")

PROJECT = """\
import time
from celery import Celery
import kafka_transport

app = Celery("project")
app.conf.update({configuration!r})

@app.task(acks_late=True)
def nap(seconds):
    time.sleep(seconds)
"""


class Kafka:
    """The command line of a project."""

    def __init__(self, directory: Path, configuration: dict[str, object]) -> None:
        self.directory = directory
        (directory / "project.py").write_text(PROJECT.format(configuration=configuration))
        self.app = Celery("client", set_as_current=False)
        self.app.conf.update(configuration)

    def run(self, *command: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*CELERY, "-A", "project", "kafka", *command],
            cwd=self.directory, capture_output=True, text=True, timeout=60, check=False, **options,
        )  # fmt: skip

    def __call__(self, *command: str) -> str:
        done = self.run(*command)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def json(self, *command: str) -> Any:
        return json.loads(self(*command, "--json"))

    def fails(self, *command: str) -> str:
        done = self.run(*command)
        assert done.returncode != 0, done.stdout
        assert "Traceback" not in done.stderr
        return done.stderr

    def api(self) -> tuple[Cluster, DurableQueues]:
        """What the command is made of, without the start of a process."""
        transport = self.app.connection_for_write().connection
        return transport.cluster, transport.durable

    def send(self, *naps: float, **options: Any) -> list[str]:
        return [self.app.send_task("project.nap", (each,), **options).id for each in naps]


@pytest.fixture
def command(kafka: str, prefix: str, tmp_path: Path) -> Iterator[Kafka]:
    made = Kafka(
        tmp_path,
        {
            "broker_url": f"{kafka_transport.SCHEME}://{kafka}",
            "task_default_queue": "tasks",
            "broker_transport_options": {
                "group_id": prefix + "group", "topic_prefix": prefix, "num_partitions": 4,
            },
            "worker_prefetch_multiplier": 1,
        },
    )  # fmt: skip
    yield made
    made.app.close()


@pytest.fixture
def letters(command: Kafka, connect: Connect) -> list[str]:
    """The ids of five tasks that were rejected, in the order of their ends."""
    ids = command.send(*[0.0] * 5)
    connection = connect()
    collector = Collector(connection, TASKS)
    collector.receive(5)
    for message in sorted(collector.messages, key=lambda message: ids.index(message.headers["id"])):
        message.reject()
    wait_until(lambda: lag_of(command).waiting == 0, within=20, what="the acks", every=0.2)
    connection.release()
    return ids


def lag_of(command: Kafka) -> QueueLag:
    [row] = lag(*command.api(), ["tasks"])
    return row


def listed(command: Kafka) -> list[str | None]:
    return [letter.id for letter in DeadLetters(*command.api(), "tasks").letters()]


def ids_in_queue(connect: Connect, expected: int) -> list[str]:
    """What a consumer gets, once as many as expected are there and for a moment more."""
    connection = connect()
    collector = Collector(connection, TASKS)
    collector.receive(expected)
    collector.drain(0.5)
    connection.release()
    return sorted(message.headers["id"] for message in collector.messages)


def test_lag_tells_what_waits_runs_and_is_delayed_and_who_consumes(command: Kafka) -> None:
    command.send(*[0.0] * 6)
    command.send(0.0, 0.0, countdown=3600)
    [before] = command.json("lag", "tasks")
    assert (before["waiting"], before["delayed"], before["running"]) == (6, 2, 0)
    assert before["consumers"] == []
    assert 0 <= before["oldest_seconds"] < 60
    [long] = command.send(300)
    with Worker(command.directory, "project", "-P", "solo", "-c", "1") as worker:
        worker.wait_for(f"{long}] received")
        wait_until(lambda: lag_of(command).running == 1, within=20, what="the task running")
        [during] = command.json("lag", "tasks")
        assert during["delayed"] == 2
        [consumer] = during["consumers"]
        assert consumer["client_id"]
        assert consumer["partitions"] == 4
        table = command("lag")
        assert "127.0.0.1" in table
        [held] = [row for row in command.json("offsets", "tasks") if row["running"]]
        assert held["behind"] == held["end"] - held["committed"] - held["acked_beyond"] > 0
        assert held["consumer"].endswith("127.0.0.1")


def test_topics_are_listed_by_what_they_are_for(command: Kafka, letters: list[str]) -> None:
    command.send(0.0, countdown=3600)
    found = {each["name"].partition(".")[2]: each for each in command.json("topics")}
    kinds = {name: each["kind"] for name, each in found.items()}
    assert kinds["tasks"] == "queue"
    assert kinds["tasks.delay"] == "delay"
    assert kinds["tasks.dlq"] == "dead letters"
    assert found["tasks"]["partitions"] == 4
    assert found["tasks"]["replicas"] == 1
    assert found["tasks"]["messages"] == 5
    assert found["tasks.dlq"]["messages"] == 5
    assert found["tasks.dlq"]["retention_ms"] == -1
    assert "for ever" in command("topics")


def test_dead_letters_are_listed_without_their_arguments(
    command: Kafka, letters: list[str]
) -> None:
    assert [row["id"] for row in command.json("dlq", "list", "tasks")] == letters
    rows = command.json("dlq", "list", "tasks", "--limit", "2", "--offset", "1")
    assert [row["id"] for row in rows] == letters[1:3]
    assert rows[0]["task"] == "project.nap"
    assert "rejected" in rows[0]["reason"]
    assert rows[0]["from"].split(".")[1].startswith("tasks[")
    assert rows[0]["deliveries"] == 1
    assert "body" not in rows[0]
    shown = command.json("dlq", "list", "tasks", "--show-body")
    assert json.loads(shown[0]["body"])[0] == [0.0]
    assert letters[0] in command("dlq", "list", "tasks")


def test_a_replayed_letter_is_in_its_queue_and_off_the_list(
    command: Kafka, letters: list[str], connect: Connect
) -> None:
    assert command.json("dlq", "replay", "tasks", "--id", letters[2]) == {
        "replayed": 1, "missing": [],
    }  # fmt: skip
    assert listed(command) == [*letters[:2], *letters[3:]]
    assert ids_in_queue(connect, 1) == [letters[2]]
    place = next(DeadLetters(*command.api(), "tasks").letters()).place
    assert "1 replayed" in command("dlq", "replay", "tasks", "--id", place)
    assert command.json("dlq", "replay", "tasks", "--all")["replayed"] == 3
    assert command.json("dlq", "replay", "tasks", "--all")["replayed"] == 0
    assert ids_in_queue(connect, 5) == sorted(letters)
    # What is handled is deleted: nothing is left of the letters, nor of what said so.
    assert lag_of(command).dead == 0


def test_a_message_that_was_given_up_begins_anew_when_replayed(
    command: Kafka, connect: Connect
) -> None:
    [task] = command.send(0.0)
    for _ in range(2):
        connection = connect(max_deliveries=2)
        Collector(connection, TASKS).receive(1)
        connection.release()
    connection = connect(max_deliveries=2)
    assert Collector(connection, TASKS).drain(2) == []
    connection.release()
    [letter] = command.json("dlq", "list", "tasks")
    assert (letter["id"], letter["deliveries"]) == (task, 2)
    command("dlq", "replay", "tasks", "--all")
    again = connect(max_deliveries=2)
    collector = Collector(again, TASKS)
    collector.receive(1)
    assert collector.messages[0].delivery_info["delivery_count"] == 0


def test_a_drop_asks_first_and_then_forgets(
    command: Kafka, letters: list[str], connect: Connect
) -> None:
    refused = command.run("dlq", "drop", "tasks", "--all", input="n\n")
    assert refused.returncode != 0
    assert listed(command) == letters
    assert "1 dropped" in command("dlq", "drop", "tasks", "--id", letters[1], "--yes")
    assert listed(command) == [letters[0], *letters[2:]]
    command("dlq", "drop", "tasks", "--all", "--yes")
    assert listed(command) == []
    assert lag_of(command).waiting == 0


def test_a_replay_that_is_killed_before_it_is_noted_loses_nothing(
    command: Kafka, letters: list[str], connect: Connect
) -> None:
    victim = (
        "import os, signal\n"
        "from kafka_transport.operations.dead_letters import DeadLetters\n"
        "assert DeadLetters._mark\n"
        "DeadLetters._mark = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "from celery.__main__ import main\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", victim, "-A", "project", "kafka", "dlq", "replay", "tasks", "--all"],
        cwd=command.directory, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert listed(command) == letters
    # The killed one holds the letters until its group gives it up.
    assert command.json("dlq", "replay", "tasks", "--all")["replayed"] == 5
    assert listed(command) == []
    assert ids_in_queue(connect, 10) == sorted(letters * 2)


def test_two_replays_are_never_at_work_at_once(
    command: Kafka, letters: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letters, "SOLE_SECONDS", 2)
    first, second = (DeadLetters(*command.api(), "tasks") for _ in range(2))
    with first._alone() as still_alone:
        with pytest.raises(KafkaTransportError, match="another replay or drop is at work"):
            second.replay()
        still_alone()
    assert listed(command) == letters


def test_what_is_wrong_is_said_in_a_line(command: Kafka, letters: list[str]) -> None:
    assert "no queue 'nowhere'" in command.fails("lag", "nowhere")
    assert "no queue 'nowhere'" in command.fails("dlq", "list", "nowhere")
    assert "say which" in command.fails("dlq", "replay", "tasks")
    assert "no such dead letter: x" in command.fails("dlq", "replay", "tasks", "--id", "x")


def test_a_broker_that_is_away_is_said_in_a_line(tmp_path: Path) -> None:
    away = Kafka(tmp_path, {"broker_url": f"kafka://127.0.0.1:{free_port()}"})
    assert "no Kafka answered" in away.fails("topics")


def test_another_broker_is_refused(tmp_path: Path) -> None:
    other = Kafka(tmp_path, {"broker_url": "redis://127.0.0.1:1/0"})
    assert "are for kafka://" in other.fails("lag")


@pytest.mark.parametrize("seconds", [["0.2"], []])
def test_watching_shows_it_again_until_it_is_ended(command: Kafka, seconds: list[str]) -> None:
    command.send(0.0)
    watching = subprocess.Popen(
        [*CELERY, "-A", "project", "kafka", "lag", "--json", "--watch", *seconds],
        cwd=command.directory, stdout=subprocess.PIPE, text=True, env=os.environ,
    )  # fmt: skip
    try:
        assert watching.stdout is not None
        assert json.loads(watching.stdout.readline())[0]["waiting"] == 1
        command.send(0.0)
        deadline = time.monotonic() + 20
        while json.loads(watching.stdout.readline())[0]["waiting"] != 2:
            assert time.monotonic() < deadline
    finally:
        watching.send_signal(signal.SIGINT)
        watching.wait(10)
