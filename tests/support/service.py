"""The reference service as started processes: app with hub, and workers."""

import os
import secrets
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
from pydantic import SecretStr

from tests.support.ports import free_port
from tests.support.waiting import wait_until
from tests.support.workers import Worker
from ws_hub import HubSettings, TokenVerifier

ROOT = Path(__file__).parents[2]


class Service:
    """`uvicorn app.main:app` on a free port; topic and group of its own, so that several can run."""

    def __init__(self, directory: Path, kafka: str, redis_url: str, **settings: str) -> None:
        self.directory = directory
        self.port = free_port()
        unique = secrets.token_hex(4)
        self.environment = {
            **{k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG")},
            "KAFKA_BOOTSTRAP_SERVERS": kafka,
            "REDIS_URL": redis_url,
            "SECRET_KEY": "k" * 64,
            "ENVIRONMENT": "development",
            "KAFKA_TOPIC": f"requests-{unique}",
            "KAFKA_GROUP_ID": f"group-{unique}",
            "KAFKA_PUBLISH_TIMEOUT_SECONDS": "3",
            "PYTHONUNBUFFERED": "1",
            **settings,
        }
        self.process: subprocess.Popen[bytes] | None = None
        self.workers: list[Worker] = []
        self.client = httpx.Client(base_url=self.url, timeout=30)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def hub(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws"

    def worker(self, name: str, *options: str) -> Worker:
        """A started worker; ended with the service."""
        unique = self.environment["KAFKA_TOPIC"][-8:]
        worker = Worker(ROOT, "tasks", *options, name=f"{name}-{unique}", log=self.directory / f"{name}.log",
                        environment=self.environment, inherit=False)  # fmt: skip
        self.workers.append(worker)
        return worker.start()

    def accepted(
        self, method: str, path: str, channel: str = "true", **request: Any
    ) -> httpx.Response:
        """Asks asynchronously; fails unless it is accepted."""
        headers = {"X-Async-Request": channel, **request.pop("headers", {})}
        answer = self.client.request(method, path, headers=headers, **request)
        assert answer.status_code == 202, answer.text
        return answer

    def result(self, task_id: str, channel: str, within: float = 30) -> dict[str, Any]:
        """The envelope of a finished request."""

        def done() -> httpx.Response | None:
            answer = self.client.get(
                f"/api/v1/async_background_response/{task_id}/", params={"channel": channel}
            )
            assert answer.status_code in (200, 202), answer.text
            return answer if answer.status_code == 200 else None

        answer = wait_until(done, within=within, what=f"the result of {task_id}")
        envelope: dict[str, Any] = answer.json()
        return envelope

    def token(self, sub: str) -> str:
        answer = self.client.post("/api/v1/demo/token", json={"sub": sub})
        assert answer.status_code == 200, answer.text
        body = answer.json()
        return str(body.get("token") or body["access_token"])

    def token_of(self, sub: str) -> str:
        """A token that the service takes, made here: for an app without the demo's endpoints."""
        secret = SecretStr(self.environment["SECRET_KEY"])
        return TokenVerifier(HubSettings(secret_key=[secret])).issue(sub, 600)

    def log(self) -> str:
        return (self.directory / "app.log").read_text()

    def __enter__(self) -> Self:
        log = (self.directory / "app.log").open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", "app.main:app", "--port", str(self.port)],
            cwd=ROOT,
            env=self.environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        log.close()
        try:
            wait_until(self._answers, within=90, what=f"the app: see {self.directory}/app.log")
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def _end(self) -> None:
        self.client.close()
        for worker in self.workers:
            worker.kill()
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def _answers(self) -> bool:
        try:
            return self.client.get("/livez").status_code == 200
        except httpx.TransportError:
            return False
