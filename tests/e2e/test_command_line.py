"""`respond-async` on a running service, as it is typed."""

import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.support.ports import free_port
from tests.support.redis_server import RedisServer
from tests.support.secured_kafka import SecuredKafka, password_of
from tests.support.service import ROOT, Service
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.kafka, pytest.mark.e2e]

COMMAND = str(Path(sys.executable).parent / "respond-async")
CHANNEL = "channel-of-the-command-line"
SLEEP = "/api/v1/demo/sleep?seconds="


def run(service: Service, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, *arguments], cwd=ROOT, env={**service.environment, **environment},
        capture_output=True, text=True, check=False, timeout=90,
    )  # fmt: skip


def start(service: Service, *arguments: str) -> subprocess.Popen[str]:
    """Killed after a minute, so that a line that never comes fails its test."""
    process = subprocess.Popen(
        [COMMAND, *arguments], cwd=ROOT, env=service.environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = threading.Timer(60, process.kill)
    deadline.daemon = True
    deadline.start()
    return process


def diagnosed(service: Service, **environment: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """Exit code and findings, the worst of each subject."""
    done = run(service, "doctor", "--json", "--url", service.url, **environment)
    assert done.stderr == ""
    report = json.loads(done.stdout)
    assert report["ok"] == (done.returncode == 0)
    order = ["ok", "warning", "failure"]
    found: dict[str, dict[str, Any]] = {}
    for one in sorted(report["findings"], key=lambda each: order.index(each["level"])):
        found[one["subject"]] = one
        assert one["remedy"] or one["level"] == "ok", one
    return done.returncode, found


def failures(found: dict[str, dict[str, Any]]) -> list[str]:
    return sorted(subject for subject, one in found.items() if one["level"] == "failure")


def group(service: Service) -> str:
    environment = service.environment
    return f"group {environment['KAFKA_GROUP_ID']}.{environment['KAFKA_TOPIC']}"


# doctor


def test_a_service_that_runs_is_healthy_in_every_part(service: Service) -> None:
    wait_until(
        lambda: service.client.get("/readyz").json()["status"] == "ok", within=30, what="ready"
    )
    code, found = diagnosed(service)
    assert code == 0, found
    topic = service.environment["KAFKA_TOPIC"]
    where = service.environment["REDIS_URL"].removeprefix("redis://").removesuffix("/0")
    well = {subject for subject, one in found.items() if one["level"] == "ok"}
    assert {
        "kafka", "kafka version", f"access to {topic}", group(service), f"worker of {topic}",
        f"redis {where}", f"writes to {where}", f"pub/sub of {where}", f"clock of {where}",
        f"app {service.url}", f"hub {service.url}", "celery results",
    } <= well  # fmt: skip
    # One broker, a Redis in memory, development: told, and no reason to fail.
    assert "1 replicas" in found[f"topic {topic}"]["what"]
    assert found[f"persistence of {where}"]["level"] == "warning"
    assert found["ENVIRONMENT"]["level"] == "warning"


def test_people_read_what_is_wrong_where_and_what_to_do(service: Service) -> None:
    done = run(service, "doctor", "--url", service.url, SECRET_KEY="", ENVIRONMENT="production")
    assert done.returncode == 1
    line, remedy = done.stdout.splitlines()[:2]
    assert line.startswith("FAIL  SECRET_KEY: is not set")
    assert remedy.lstrip().startswith("-> set the same one")


def test_a_kafka_that_is_away_is_named(service: Service) -> None:
    address = f"127.0.0.1:{free_port()}"
    code, found = diagnosed(service, KAFKA_BOOTSTRAP_SERVERS=address)
    assert code == 1
    assert failures(found) == ["kafka"]
    assert address in found["kafka"]["what"]


def test_a_redis_that_is_away_is_named_and_kafka_is_looked_at_all_the_same(
    service: Service,
) -> None:
    port = free_port()
    code, found = diagnosed(service, REDIS_URL=f"redis://:swordfish@127.0.0.1:{port}/0")
    assert code == 1
    assert failures(found) == [f"redis 127.0.0.1:{port}"]
    assert found["kafka"]["level"] == "ok"
    assert "swordfish" not in json.dumps(found)


@pytest.fixture
def guarded_redis(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path) as server:
        client = redis.Redis(port=server.port)
        client.config_set("maxmemory", "100mb")
        client.config_set("maxmemory-policy", "allkeys-lru")
        client.config_set("requirepass", "the-password")
        client.close()
        yield server


def test_a_wrong_password_of_redis_is_told_and_not_shown(
    service: Service, guarded_redis: RedisServer
) -> None:
    where = f"127.0.0.1:{guarded_redis.port}"
    code, found = diagnosed(service, REDIS_URL=f"redis://:swordfish@{where}/0")
    assert code == 1
    assert "refused the login" in found[f"redis {where}"]["what"]
    assert "swordfish" not in json.dumps(found)

    # With the right one: it may drop results, and the hub has another Redis.
    code, found = diagnosed(service, REDIS_URL=f"redis://:the-password@{where}/0")
    assert code == 1
    assert "allkeys-lru drops results" in found[f"eviction of {where}"]["what"]
    topic = service.environment["KAFKA_TOPIC"]
    assert failures(found) == [f"eviction of {where}", f"hub {service.url}", f"worker of {topic}"]
    assert "the-password" not in json.dumps(found)


def test_a_wrong_password_of_kafka_is_told_and_not_shown(
    service: Service, secured_kafka: SecuredKafka
) -> None:
    def login(password: str) -> str:
        return json.dumps({
            "security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN",
            "sasl.username": "alice", "sasl.password": password,
        })  # fmt: skip

    there = {"KAFKA_BOOTSTRAP_SERVERS": secured_kafka.at("SASL")}
    code, found = diagnosed(service, **there, KAFKA_CLIENT_PROPERTIES=login("swordfish"))
    assert code == 1
    assert failures(found) == ["kafka"]
    assert "refused the login of alice" in found["kafka"]["what"]
    assert "swordfish" not in json.dumps(found)

    # With the right one she is let in, and may do nothing.
    code, found = diagnosed(service, **there, KAFKA_CLIENT_PROPERTIES=login(password_of("alice")))
    topic = found[f"topic {service.environment['KAFKA_TOPIC']}"]
    assert topic["level"] == "failure"
    assert "needs the ACL DESCRIBE" in topic["what"]
    assert password_of("alice") not in json.dumps(found)


def test_a_project_that_cannot_be_imported_is_told(service: Service) -> None:
    done = run(service, "doctor", "--json", "-A", "no_such_project")
    assert done.returncode == 1
    found = {one["subject"]: one for one in json.loads(done.stdout)["findings"]}
    assert "no_such_project" in found["celery no_such_project"]["what"]


def test_a_worker_that_is_away_is_told(kafka: str, redis_url: str, tmp_path: Path) -> None:
    with Service(tmp_path, kafka, redis_url, READY_WORKER_SECONDS="11") as service:
        topic = service.environment["KAFKA_TOPIC"]
        _, found = diagnosed(service)
        assert "none was seen in a day" in found[f"worker of {topic}"]["what"]
        worker = service.worker("w1")
        wait_until(lambda: diagnosed(service)[0] == 0, within=40, what="healthy with a worker")
        worker.kill()
        wait_until(
            lambda: failures(diagnosed(service)[1]) == [group(service), f"worker of {topic}"],
            within=60,
            what="group and worker are missed",
        )


# send


def test_an_answer_goes_to_standard_output_and_the_rest_beside_it(service: Service) -> None:
    done = run(service, "send", "GET", f"{service.url}{SLEEP}0.1")
    assert (done.returncode, done.stdout) == (0, '{"slept_seconds":0.1}')
    accepted, said = done.stderr.splitlines()
    assert accepted.startswith("accepted ")
    assert said.startswith("200 OK after ")
    done = run(service, "send", "-q", "GET", f"{service.url}{SLEEP}0")
    assert (done.stdout, done.stderr) == ('{"slept_seconds":0.0}', "")
    token = service.token("a")
    who = ["send", "GET", f"{service.url}/api/v1/demo/me"]
    assert json.loads(run(service, *who, "--token", token).stdout)["sub"] == "a"
    assert json.loads(run(service, *who, RESPOND_ASYNC_TOKEN=token).stdout)["sub"] == "a"


def test_the_exit_code_is_that_of_the_endpoints_status(service: Service) -> None:
    done = run(service, "send", "GET", f"{service.url}/api/v1/demo/fail?status=418", "-i")
    assert done.returncode == 4
    assert "content-type: " in done.stderr
    done = run(service, "send", "GET", f"{service.url}/api/v1/demo/fail?status=503")
    assert done.returncode == 5


@pytest.fixture(scope="module")
def upload(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """`-H` and `-d` of a file whose report takes some seconds."""
    path = tmp_path_factory.mktemp("upload") / "body"
    with path.open("w") as body:
        body.write('--xx\r\nContent-Disposition: form-data; name="file"; filename="p.csv"\r\n\r\n')
        body.write("name,age,born\n" + "".join(f"n{n},{n},2020-01-01\n" for n in range(300_000)))
        body.write("\r\n--xx--\r\n")
    return ["-H", "Content-Type: multipart/form-data; boundary=xx", "-d", f"@{path}"]


def test_progress_is_shown_while_it_runs(service: Service, upload: list[str]) -> None:
    url = f"{service.url}/api/v1/demo/csv-report"
    done = run(service, "send", "POST", url, *upload)
    assert json.loads(done.stdout)["rows"] == 300_000
    assert [line for line in done.stderr.splitlines() if "% " in line and "rows read" in line]


def test_in_a_terminal_progress_is_one_line(service: Service, upload: list[str]) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [COMMAND, "send", "POST", f"{service.url}/api/v1/demo/csv-report", *upload],
        cwd=ROOT, env={**service.environment, "TERM": "xterm", "COLUMNS": "120"},
        stdout=subprocess.PIPE, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    read = bytearray()

    def take() -> None:
        try:
            while data := os.read(ours, 65536):
                read.extend(data)
        except OSError:
            return  # nobody has the terminal open any more

    reader = threading.Thread(target=take, daemon=True)
    reader.start()
    out, _ = process.communicate(timeout=60)
    reader.join(5)
    os.close(ours)
    assert json.loads(out)["rows"] == 300_000
    shown = read.decode()
    assert "waiting" in shown
    assert "rows read" in shown
    assert "200 OK after" in shown


def test_ctrl_c_cancels_the_request(service: Service) -> None:
    process = start(service, "send", "GET", f"{service.url}{SLEEP}60", "--channel", CHANNEL)
    assert process.stderr is not None
    task_id = process.stderr.readline().removeprefix("accepted ").strip()
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    out, told = process.communicate(timeout=20)
    assert process.returncode == 130
    assert out == ""
    assert f"cancelled {task_id}" in told
    assert "Traceback" not in told
    assert service.result(task_id, CHANNEL)["status"] == 499


def test_a_time_that_is_over_cancels_it_too(service: Service) -> None:
    done = run(service, "send", "GET", f"{service.url}{SLEEP}60", "--timeout", "0.5")
    assert done.returncode == 124
    assert "no answer within 0.5 s: cancelled " in done.stderr


# tail


def test_tail_follows_a_channel_and_goes_on_after_a_restart(
    kafka: str, redis_url: str, tmp_path: Path
) -> None:
    with Service(tmp_path, kafka, redis_url) as service:
        service.worker("w1")
        with start(service, "tail", service.url, "--channel", CHANNEL, "--json", "-n", "2") as tail:
            assert tail.stderr is not None
            assert tail.stdout is not None
            assert tail.stderr.readline().startswith("listening, at ")
            first = service.accepted("GET", f"{SLEEP}0", CHANNEL).json()["meta"]
            told = json.loads(tail.stdout.readline())
            assert told["task_id"] == first["async_request_id"]
            assert (told["status"], told["channel"]) == ("completed", CHANNEL)

            # What ends while the hub is away is told when it is back.
            second = service.accepted("GET", f"{SLEEP}2", CHANNEL).json()["meta"]
            assert service.process is not None
            service.process.kill()
            service.process.wait()
            assert "connection lost" in tail.stderr.readline()
            client: Any = redis.Redis.from_url(redis_url)
            wait_until(
                lambda: any(
                    second["async_request_id"].encode() in value
                    for name in client.keys("*")
                    if client.type(name) == b"stream"
                    for _, fields in client.xrange(name)
                    for value in fields.values()
                ),
                within=30,
                what="the second one is told to nobody",
            )
            client.close()
            with service:
                told = json.loads(tail.stdout.readline())
                assert told["task_id"] == second["async_request_id"]
                assert tail.wait(20) == 0


def test_who_is_not_let_in_is_told_why(service: Service) -> None:
    done = run(service, "tail", service.url, "--token", "no-token")
    assert done.returncode == 1
    assert "401" in done.stderr
    assert "Traceback" not in done.stderr


# bench


def test_bench_counts_what_it_was_answered(service: Service) -> None:
    done = run(service, "bench", f"{service.url}{SLEEP}1", "-n", "40", "-c", "8", "--json")
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert (figures["accepted"], figures["answered"]) == (40, 40)
    assert figures["statuses"] == {"200": 40}
    assert figures["accepts_per_second"] > 0
    # It slept that long, and an accept does not wait for it.
    assert figures["end_to_end_p50"] >= 1
    assert figures["end_to_end_p50"] - figures["accept_p50"] > 0.5
    assert figures["accept_p50"] <= figures["accept_p99"] <= figures["end_to_end_p99"]
    done = run(service, "bench", f"{service.url}/api/v1/demo/fail?status=500", "-n", "3")
    assert done.returncode == 1
    assert "status 500" in done.stdout
