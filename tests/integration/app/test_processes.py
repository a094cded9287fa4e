"""The service's processes as compose.yaml starts them, on a real Redis and a real Kafka."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from tests.support.ports import free_port
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[3]
BIN = Path(sys.executable).parent
KEY = "k" * 64

Start = Callable[..., "Service"]


class Service:
    """A started process and all that it wrote."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self.log = log

    def text(self) -> str:
        return self.log.read_text()

    def answers(self, url: str, **request: Any) -> httpx.Response | None:
        assert self.process.poll() is None, self.text()
        try:
            return httpx.get(url, timeout=10, **request)
        except httpx.TransportError:
            return None

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(30)
        finally:
            self.process.kill()


def environment(redis_url: str, kafka: str, **more: str) -> dict[str, str]:
    return {
        **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
        "SECRET_KEY": KEY,
        "REDIS_URL": redis_url,
        "KAFKA_BOOTSTRAP_SERVERS": kafka,
        "PYTHONUNBUFFERED": "1",
        **more,
    }


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a command of compose.yaml's by the name of its service."""
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text())
    with contextlib.ExitStack() as stack:

        def go(service: str, environ: dict[str, str], port: int = 0, *more: str) -> Service:
            command = list(compose["services"][service]["command"])
            if "--port" in command:
                command[command.index("--port") + 1] = str(port)
                command[command.index("--host") + 1] = "127.0.0.1"
            command[0] = str(BIN / command[0])
            log = tmp_path / f"{service}.log"
            out = stack.enter_context(log.open("wb"))
            process = subprocess.Popen(
                [*command, *more], cwd=ROOT, env=environ, stdout=out, stderr=subprocess.STDOUT
            )
            started = Service(process, log)
            stack.callback(lambda: process.poll() is None and started.end())
            return started

        yield go


@pytest.mark.kafka
def test_the_app_is_ready_when_redis_and_kafka_are(
    start: Start, redis_url: str, kafka: str
) -> None:
    port = free_port()
    app = start("app", environment(redis_url, kafka), port)
    url = f"http://127.0.0.1:{port}"
    wait_until(lambda: app.answers(f"{url}/livez"), within=60, what="the app answers")
    ready = app.answers(f"{url}/readyz")
    assert ready is not None
    assert ready.status_code == 200, ready.text
    checks = ready.json()["checks"]
    assert (checks["redis"], checks["broker"]) == ("ok", "ok")
    # A queue of this name has no worker of any other test's only by chance: both are right.
    assert ready.json()["status"] == ("ok" if checks["worker"] == "ok" else "degraded")
    assert app.end() in (0, -signal.SIGTERM)


def test_the_app_lives_without_its_servers_and_says_what_it_lacks(start: Start) -> None:
    port = free_port()
    redis, kafka = f"redis://127.0.0.1:{free_port()}/0", f"127.0.0.1:{free_port()}"
    app = start("app", environment(redis, kafka), port)
    url = f"http://127.0.0.1:{port}"
    wait_until(lambda: app.answers(f"{url}/livez"), within=60, what="the app answers")
    ready = app.answers(f"{url}/readyz")
    assert ready is not None
    assert ready.status_code == 503
    assert set(ready.json()["checks"]) == {"redis", "broker", "worker"}
    assert "ok" not in ready.json()["checks"].values()


@pytest.mark.parametrize("service", ["app", "hub"])
def test_no_log_line_holds_a_token_or_a_channel(start: Start, redis_url: str, service: str) -> None:
    port = free_port()
    process = start(service, environment(redis_url, f"127.0.0.1:{free_port()}"), port)
    address = f"127.0.0.1:{port}"
    wait_until(
        lambda: process.answers(f"http://{address}/livez?token=hush-hush-hush"),
        within=60,
        what="it answers",
    )
    for query in ("token=hush-hush-hush", "channel=hush-hush-hush-hush"):
        with contextlib.suppress(WebSocketException), connect(f"ws://{address}/ws?{query}") as ws:
            ws.recv(timeout=10)
    wait_until(
        lambda: process.text().count("WebSocket") >= 2, within=10, what="both sockets are logged"
    )
    assert process.end() in (0, -signal.SIGTERM)  # uvicorn ends by the signal it was sent
    assert "hush" not in process.text()
    lines = [json.loads(line) for line in process.text().splitlines()]
    assert {"uvicorn.access", "uvicorn.error"} <= {line["logger"] for line in lines}


@pytest.mark.kafka
def test_a_worker_writes_json_passes_its_health_check_and_ends_when_told(
    start: Start, redis_url: str, kafka: str, tmp_path: Path
) -> None:
    environ = environment(redis_url, kafka, WORKER_HEARTBEAT_FILE=str(tmp_path / "heartbeat"))
    worker = start("worker", environ)
    wait_until(
        lambda: worker.process.poll() is not None or " ready" in worker.text(),
        within=60,
        what=f"the worker is ready: {worker.log}",
    )
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text())
    _, python, *check = compose["services"]["worker"]["healthcheck"]["test"]
    checked = subprocess.run(
        [str(BIN / python), *check],
        check=False,
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr + worker.text()
    assert worker.end() == 0, worker.text()
    written = [line for line in worker.text().splitlines() if line.startswith("{")]
    assert any(json.loads(line)["event"].endswith(" ready.") for line in written)
    assert KEY not in worker.text()


@pytest.mark.kafka
def test_a_report_made_by_a_worker_is_the_report_that_the_app_makes_itself(
    start: Start, redis_url: str, kafka: str
) -> None:
    port = free_port()
    environ = environment(redis_url, kafka, KAFKA_TOPIC="reports", KAFKA_GROUP_ID="reports")
    app, worker = start("app", environ, port), start("worker", environ)
    base = f"http://127.0.0.1:{port}"
    wait_until(lambda: app.answers(f"{base}/livez"), within=60, what="the app answers")
    channel = {"X-Async-Request": "a-channel-of-my-own"}
    rows = "".join(f"{number},name {number % 7},{number / 8}\n" for number in range(60_000))
    content = f"id,name,weight\n{rows}".encode()
    with httpx.Client(base_url=base, timeout=60) as client:

        def post(path: str, **request: Any) -> httpx.Response:
            return client.post(path, files={"file": ("big.csv", content)}, **request)

        direct = post("/api/v1/demo/csv-report", params={"format": "csv"})
        assert direct.status_code == 200
        assert post("/api/v1/demo/report").status_code == 409
        accepted = post("/api/v1/demo/report", params={"format": "csv"}, headers=channel)
        assert accepted.status_code == 202, accepted.text
        task_id = accepted.json()["meta"]["async_request_id"]

        def result() -> dict[str, Any] | None:
            answer = client.get(f"/api/v1/async_background_response/{task_id}/", headers=channel)
            assert answer.status_code in (200, 202), answer.text
            body: dict[str, Any] = answer.json()
            return body if answer.status_code == 200 else None

        done = wait_until(result, within=60, what=f"the result: {worker.log}")
    assert done is not None
    assert done["status"] == 200
    assert done["response"] == direct.text
    headers = {name.lower(): value for name, value in done["headers"].items()}
    assert headers["content-disposition"] == direct.headers["Content-Disposition"]
    assert worker.end() == 0
    lines = [json.loads(line) for line in worker.text().splitlines() if line.startswith("{")]
    assert task_id in {line.get("task_id") for line in lines}
    for secret in (channel["X-Async-Request"], "name 3", KEY):
        assert secret not in worker.text()
        assert secret not in app.text()


@pytest.mark.kafka
def test_flower_is_up_and_asks_for_the_password(start: Start, redis_url: str, kafka: str) -> None:
    port = free_port()
    environ = environment(redis_url, kafka, FLOWER_BASIC_AUTH="ann:secret", FLOWER_PORT=str(port))
    flower = start("flower", environ)
    url = f"http://127.0.0.1:{port}"
    wait_until(lambda: flower.answers(f"{url}/healthcheck"), within=60, what="Flower answers")
    refused = flower.answers(f"{url}/tasks")
    assert refused is not None
    assert refused.status_code == 401
    shown = flower.answers(f"{url}/tasks", auth=("ann", "secret"))
    assert shown is not None
    assert shown.status_code == 200
    written = [json.loads(line) for line in flower.text().splitlines() if line.startswith("{")]
    assert any("Visit me at" in line["event"] for line in written)
    assert "secret" not in flower.text()


def test_the_image_holds_all_that_the_service_imports(tmp_path: Path) -> None:
    for source in re.findall(
        r"^COPY (?!--)([^\s.]+) ", (ROOT / "deploy/Dockerfile").read_text(), re.MULTILINE
    ):
        shutil.copytree(ROOT / source, tmp_path / source)
    imported = subprocess.run(
        [
            sys.executable,
            "-c",
            "import app.main, tasks, ws_hub.main; print(app.__file__, tasks.__file__)",
        ],
        check=True,
        cwd=tmp_path,
        env=environment("redis://localhost", "localhost", PYTHONPATH=str(tmp_path)),
        capture_output=True,
        text=True,
    )
    assert imported.stdout.count(str(tmp_path)) == 2
