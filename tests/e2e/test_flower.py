"""Flower over Kafka beside the reference service: it sees the replays, and shows no secret."""

import json
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.flower import Flower
from tests.support.service import ROOT, Service
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.kafka, pytest.mark.e2e]

#: librdkafka reads it where a login is asked for, which is not so here.
KAFKA_PASSWORD = secrets.token_urlsafe(24)


@pytest.fixture(scope="module")
def service(
    kafka: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    properties = {"KAFKA_CLIENT_PROPERTIES": json.dumps({"sasl.password": KAFKA_PASSWORD})}
    with Service(tmp_path_factory.mktemp("service"), kafka, redis_url, **properties) as running:
        running.worker("w1")
        yield running


@pytest.fixture(scope="module")
def flower(service: Service) -> Iterator[Flower]:
    with Flower(
        ROOT,
        "tasks",
        "--conf=config/flower.py",
        environment=service.environment,
        inherit=False,
        log=service.directory / "flower.log",
    ) as running:
        yield running


def test_replays_and_jobs_go_on_when_flower_restarts_the_pool(
    service: Service, flower: Flower
) -> None:
    (worker,) = service.workers
    channel = secrets.token_urlsafe(24)

    def status() -> int:
        accepted = service.accepted("GET", "/api/v1/demo/sleep?seconds=0.01", channel)
        task_id = accepted.json()["meta"]["async_request_id"]
        return int(service.result(task_id, channel)["status"])

    def job() -> str:
        headers = {"Authorization": f"Bearer {service.token('ada')}"}
        tasks = "/api/v1/tasks/"
        made = {"name": "countdown", "arguments": {"seconds": 1}}
        task_id = service.client.post(tasks, json=made, headers=headers).json()["id"]

        def ended() -> str | None:
            found = service.client.get(f"{tasks}{task_id}/", headers=headers).json()
            return str(found["status"]) if found["completed"] is not None else None

        return wait_until(ended, within=30, what="the end of the job")

    assert status() == 200
    assert job() == "COMPLETED"
    flower.wait_for_worker(f"{worker.name}@test")
    flower.post(f"/api/worker/pool/restart/{worker.name}@test")
    worker.wait_for("the pool has restarted")
    assert status() == 200
    assert job() == "COMPLETED"


def test_flower_sees_workers_and_replays_and_no_secret(service: Service, flower: Flower) -> None:
    (worker,) = service.workers
    name = f"{worker.name}@test"
    assert flower.wait_for_worker(name)["stats"]["broker"]["transport"] == "kafka"

    channel = secrets.token_urlsafe(24)
    token = service.token("ada")
    body = secrets.token_urlsafe(24)

    def ask() -> str:
        accepted = service.accepted(
            "POST",
            "/api/v1/demo/csv-report?q=swordfish",
            channel,
            headers={"Authorization": f"Bearer {token}"},
            files={"file": ("people.csv", f"name\n{body}\n")},
        )
        return str(accepted.json()["meta"]["async_request_id"])

    done = ask()
    task = flower.wait_for_state(done, "SUCCESS")
    assert task["name"] == "respond_async.replay"
    assert "POST /api/v1/demo/csv-report" in task["args"]

    # One that has to wait is shown as the worker holds it.
    flower.post("/api/task/rate-limit/respond_async.replay", workername=name, ratelimit="1/h")
    held = [ask(), ask()]
    for each in held:
        wait_until(lambda each=each: flower.task(each), within=20, what="the request's arrival")  # type: ignore[misc]

    shown = ""
    for path in (
        f"/api/task/info/{done}",
        f"/api/task/result/{done}",
        "/api/tasks",
        f"/api/workers?refresh=1&workername={name}",
        "/api/workers?refresh=1",
        "/workers?json=1",
        f"/worker/{name}",
        f"/task/{done}",
        f"/task/{held[-1]}",
        "/broker",
        "/api/queues/length",
        "/metrics",
    ):
        answer = flower.client.get(path)
        assert answer.status_code == 200, path
        for secret in (token, "swordfish", channel, body, KAFKA_PASSWORD):
            assert secret not in answer.text, (
                path,
                answer.text[max(0, answer.text.find(secret) - 200) :][:260],
            )
        shown += answer.text
    assert "POST /api/v1/demo/csv-report" in shown
    assert service.environment["KAFKA_TOPIC"] in flower.queues()
    log = Path(flower.log).read_text()
    for secret in (token, "swordfish", channel, body, KAFKA_PASSWORD):
        assert secret not in log
