"""Flower as a started process, and a small project on `kafka://` for it to watch."""

import os
import subprocess
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

import kafka_transport
from tests.support.ports import free_port
from tests.support.waiting import wait_until
from tests.support.workers import CELERY, Worker

#: A project's own: nothing of the reference service is in it.
PROJECT = """\
import asyncio
from celery import Celery
import kafka_transport

app = Celery("project")
app.conf.update({configuration!r})

@app.task
async def add(x, y):
    return x + y

@app.task
async def nap(seconds):
    await asyncio.sleep(seconds)

@app.task
async def fail():
    raise ValueError("as it was asked to")
"""

#: The queue of the project.
QUEUE = "tasks"

#: Flower's own name for the file, which it reads by itself.
FLOWERCONFIG = "import kafka_transport.flower\n"


class Project:
    """A directory with `project.py` and `flowerconfig.py`; topics and a group of its own."""

    def __init__(self, directory: Path, kafka: str, redis_url: str, **more: object) -> None:
        self.directory = directory
        unique = f"flower-{uuid.uuid4().hex[:8]}"
        self.configuration: dict[str, object] = {
            "broker_url": f"{kafka_transport.SCHEME}://{kafka}",
            "broker_transport_options": {"group_id": unique, "topic_prefix": f"{unique}."},
            "result_backend": redis_url,
            "task_default_queue": QUEUE,
            "task_acks_late": True,
            "worker_pool": "respond_async.pool:AsyncioPool",
            "worker_concurrency": 4,
            "worker_prefetch_multiplier": 1,
            "worker_send_task_events": True,
            **more,
        }
        (directory / "project.py").write_text(PROJECT.format(configuration=self.configuration))
        (directory / "flowerconfig.py").write_text(FLOWERCONFIG)

    def worker(self, name: str, *options: str) -> Worker:
        return Worker(self.directory, "project", *options, name=name)

    def flower(self, *options: str, **environment: str) -> "Flower":
        return Flower(self.directory, "project", *options, environment=environment)


class Flower:
    """`celery -A <app> flower` on a free port of this machine; killed at the end."""

    def __init__(
        self,
        directory: Path,
        app: str,
        *options: str,
        environment: Mapping[str, str],
        inherit: bool = True,
        log: Path | None = None,
    ) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.client = httpx.Client(base_url=self.url, timeout=30)
        self.log = log or directory / f"flower-{self.port}.log"
        self._command = [*CELERY, "-A", app, "flower", f"--port={self.port}", *options]
        self._directory = directory
        # Flower's API is shut unless there is a login, or this.
        self._environment = {
            **(os.environ if inherit else {}),
            "FLOWER_UNAUTHENTICATED_API": "true",
            "FLOWER_ADDRESS": "127.0.0.1",
            **environment,
        }
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command, cwd=self._directory, env=self._environment,
                stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
        try:
            wait_until(self._answers, within=30, what=f"Flower: see {self.log}")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.client.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def get(self, path: str, **parameters: str) -> Any:
        """The JSON of an answer; fails unless it is 200."""
        answer = self.client.get(path, params=parameters)
        assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text}"
        return answer.json()

    def post(self, path: str, json: object = None, **parameters: str) -> Any:
        """As `get`."""
        answer = self.client.post(path, params=parameters, json=json)
        assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text}"
        return answer.json()

    def wait_for_worker(self, name: str, within: float = 30) -> dict[str, Any]:
        """What its workers' table knows of a worker, once that is known."""

        def known() -> dict[str, Any] | None:
            found: dict[str, Any] = self.get("/api/workers", refresh="1").get(name, {})
            return found if {"stats", "active_queues"} <= found.keys() else None

        return wait_until(known, within=within, what=f"{name} in Flower: see {self.log}")

    def alive(self) -> dict[str, bool]:
        """Workers that it has heard of, and whether they are online."""
        found: dict[str, bool] = self.get("/api/workers", status="1")
        return found

    def queues(self) -> dict[str, dict[str, Any]]:
        """The numbers of the broker tab, by queue."""
        return {row["name"]: row for row in self.get("/api/queues/length")["active_queues"]}

    def count(self, search: str = "") -> int:
        """How many tasks its table has that fit a search such as `state:SUCCESS`."""
        table = {
            "draw": "1", "start": "0", "length": "1", "search[value]": search,
            "order[0][column]": "0", "order[0][dir]": "asc", "columns[0][data]": "name",
        }  # fmt: skip
        found = self.get("/tasks/datatable", **table)
        assert "searchError" not in found, found
        return int(found["recordsFiltered"])

    def task(self, task_id: str) -> dict[str, Any]:
        """What the events told of a task; empty: nothing."""
        answer = self.client.get(f"/api/task/info/{task_id}")
        found: dict[str, Any] = answer.json() if answer.status_code == 200 else {}
        return found

    def wait_for_state(self, task_id: str, state: str, within: float = 30) -> dict[str, Any]:
        """The task, once its events say so."""

        def there() -> dict[str, Any] | None:
            task = self.task(task_id)
            return task if task.get("state") == state else None

        return wait_until(there, within=within, what=f"{task_id} {state} in Flower")

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log.read_text(errors="replace")
        try:
            return self.client.get("/healthcheck").status_code == 200
        except httpx.TransportError:
            return False
