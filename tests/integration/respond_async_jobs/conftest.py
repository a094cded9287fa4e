"""Jobs made in the test, and run by a worker process, over a real Redis."""

import asyncio
import os
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
import redis
from celery import Celery
from pydantic import SecretStr

from respond_async import Job, Jobs, Settings
from tests.support.jobs.functions import CONFIG
from tests.support.waiting import wait_until
from tests.support.workers import Worker

T = TypeVar("T")
ROOT = Path(__file__).parents[3]
SECRET = "a-secret-of-the-test-session-and-nothing-else"


class Client:
    """The app's side, on one event loop."""

    def __init__(self, jobs: Jobs, runner: asyncio.Runner, store: "redis.Redis") -> None:
        self.jobs = jobs
        self._runner = runner
        self.store = store

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(call)

    def create(self, function: object, *args: Any, **options: Any) -> Job:
        return self.run(self.jobs.create(function, *args, **options))

    def get(self, job_id: str) -> Job:
        return self.run(self.jobs.get(job_id))

    def ended(self, job: Job, within: float = 20) -> Job:
        def look() -> Job | None:
            now = self.get(job.id)
            return now if now.status.ended else None

        return wait_until(look, within=within, what=f"the end of {job}")

    def noted(self, where: str) -> list[str]:
        return [str(each) for each in self.store.lrange(where, 0, -1)]

    def wait_for(self, where: str, notes: list[str], within: float = 20) -> None:
        wait_until(lambda: self.noted(where) == notes, within=within, what=f"{notes} in {where}")


@pytest.fixture(scope="module")
def settings(redis_url: str) -> Settings:
    return Settings(redis_url=redis_url, secret_key=[SecretStr(SECRET)])


@pytest.fixture(scope="module")
def celery(redis_url: str) -> Iterator[Celery]:
    with Celery(broker=redis_url, backend=redis_url, set_as_current=False) as app:
        app.conf.task_default_queue = "jobs"
        yield app


@pytest.fixture(scope="module")
def client(settings: Settings, celery: Celery) -> Iterator[Client]:
    jobs = Jobs(celery, settings, CONFIG)
    with (
        asyncio.Runner() as runner,
        redis.Redis.from_url(settings.redis_url, decode_responses=True) as store,
    ):
        store.flushall()
        yield Client(jobs, runner, store)
        runner.run(jobs.close())


def new_worker(directory: Path, redis_url: str, name: str = "w1", **more: str) -> Worker:
    environment = {"REDIS_URL": redis_url, "SECRET_KEY": SECRET, "PYTHONPATH": str(ROOT), **more}
    return Worker(
        ROOT, "tests.support.jobs.worker", "--without-mingle", "--without-gossip",
        name=f"{name}-{os.getpid()}", log=directory / f"{name}.log", environment=environment,
    )  # fmt: skip


@pytest.fixture(scope="module")
def worker(
    client: Client, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Worker]:
    with new_worker(tmp_path_factory.mktemp("worker"), redis_url) as started:
        yield started
