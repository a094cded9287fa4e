"""Flower over Kafka: it sees the workers and the replays, and shows no secret."""

import secrets
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.support.ports import free_port
from tests.support.service import ROOT, Service
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.kafka, pytest.mark.e2e]


@pytest.fixture
def flower(service: Service) -> Iterator[httpx.Client]:
    port = free_port()
    with (service.directory / "flower.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "tasks", "flower", f"--port={port}",
             "--conf=config/flower.py"],
            cwd=ROOT,
            env=service.environment | {"FLOWER_UNAUTHENTICATED_API": "true"},
            stdout=log,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:

        def answers() -> bool:
            try:
                return client.get("/healthcheck").status_code == 200
            except httpx.TransportError:
                return False

        wait_until(answers, within=30, what=f"Flower: see {service.directory}/flower.log")
        yield client
    process.kill()
    process.wait()


def test_flower_sees_workers_and_replays_and_no_secret(
    service: Service, flower: httpx.Client
) -> None:
    (worker,) = service.workers
    name = f"{worker.name}@test"

    def workers() -> dict[str, Any]:
        found: dict[str, Any] = flower.get("/api/workers", params={"refresh": "1"}).json()
        return found

    wait_until(lambda: name in workers(), within=20, what="the worker in Flower")
    assert workers()[name]["stats"]["broker"]["transport"] == "kafka"

    channel = secrets.token_urlsafe(24)
    token = service.token("ada")
    accepted = service.accepted(
        "GET", "/api/v1/demo/me?q=swordfish", channel, headers={"Authorization": f"Bearer {token}"}
    )
    task_id = accepted.json()["meta"]["async_request_id"]

    def seen() -> dict[str, Any] | None:
        answer = flower.get(f"/api/task/info/{task_id}")
        task: dict[str, Any] = answer.json() if answer.status_code == 200 else {}
        return task if task.get("state") == "SUCCESS" else None

    task = wait_until(seen, within=20, what="the finished task in Flower")
    assert task["name"] == "respond_async.replay"
    assert "GET /api/v1/demo/me" in task["args"]
    for secret in (token, "swordfish", channel):
        assert secret not in str(task)
