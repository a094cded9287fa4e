"""The probes of a running service: each says what is wrong, and why."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.ports import free_port
from tests.support.service import ROOT, Service
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.kafka, pytest.mark.e2e]


@pytest.fixture
def service(kafka: str, redis_url: str, tmp_path: Path) -> Iterator[Service]:
    with Service(
        tmp_path, kafka, redis_url, READY_WORKER_SECONDS="11", WORKER_STALE_SECONDS="1.5",
        WORKER_HEARTBEAT_FILE=str(tmp_path / "heartbeat"),
    ) as running:  # fmt: skip
        yield running


def ready(service: Service) -> dict[str, Any]:
    answer = service.client.get("/readyz")
    assert answer.headers["cache-control"] == "no-store"
    found: dict[str, Any] = answer.json()
    return {"http": answer.status_code, "status": found["status"], **found["checks"]}


def probe(service: Service, *what: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "respond_async.probe", *what],
        cwd=ROOT, env=service.environment, capture_output=True, text=True, check=False, timeout=20,
    )  # fmt: skip
    return done.returncode, done.stderr


def test_the_app_tells_whether_a_worker_was_seen(service: Service) -> None:
    found = ready(service)
    assert found == {
        "http": 200, "status": "degraded", "redis": "ok", "broker": "ok",
        "worker": "no worker has been seen",
    }  # fmt: skip
    worker = service.worker("w1")
    wait_until(lambda: ready(service)["status"] == "ok", within=20, what="the worker is seen")
    worker.kill()
    wait_until(
        lambda: "no worker was seen for" in ready(service)["worker"],
        within=30,
        what="the worker is missed",
    )


def test_a_worker_that_hangs_is_sick_until_it_goes_on(
    service: Service,
) -> None:
    assert probe(service, "worker")[0] == 1
    worker = service.worker("w1")
    wait_until(lambda: probe(service, "worker") == (0, ""), within=20, what="healthy")

    assert worker.process is not None
    os.kill(worker.process.pid, signal.SIGSTOP)
    stopped = time.monotonic()
    wait_until(
        lambda: "no sign of life" in probe(service, "worker")[1], within=40, what="it is silent"
    )
    assert time.monotonic() - stopped > 10
    os.kill(worker.process.pid, signal.SIGCONT)
    wait_until(lambda: probe(service, "worker") == (0, ""), within=20, what="healthy again")


def test_a_blocked_event_loop_is_told(kafka: str, redis_url: str, tmp_path: Path) -> None:
    with Service(
        tmp_path, kafka, redis_url, ASGI_APP="tests.support.measured:app",
        WORKER_STALE_SECONDS="1.5", WORKER_HEARTBEAT_FILE=str(tmp_path / "heartbeat"),
    ) as service:  # fmt: skip
        service.worker("w1")
        wait_until(lambda: probe(service, "worker") == (0, ""), within=20, what="healthy")
        service.accepted("GET", "/blocks/8", "channel-of-the-health-test")
        wait_until(
            lambda: "event loop of the worker's pool is blocked" in probe(service, "worker")[1],
            within=8,
            what="the block is told",
        )
        wait_until(lambda: probe(service, "worker") == (0, ""), within=20, what="healthy again")


def test_the_probe_asks_an_address(service: Service) -> None:
    assert probe(service, f"{service.url}/livez") == (0, "")
    code, why = probe(service, f"http://127.0.0.1:{free_port()}/livez")
    assert code == 1
    assert "refused" in why
    assert probe(service, "nonsense")[0] == 2
