"""Jobs over a real Kafka while workers are killed, Redis restarts and messages come twice.

A job's status never goes back and never lies: a witness reads all records all the time, and what the
jobs themselves noted, in a file that survives everything, must be what their records say.
"""

import asyncio
import os
import random
import secrets
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Self

import pytest
import redis
from celery import Celery
from pydantic import SecretStr

import kafka_transport  # noqa: F401 - gives Celery the scheme kafka://
from respond_async import Job, Jobs, Settings, Status, TaskError
from respond_async.jobs.prelude import PREFIX
from respond_async.jobs.runtime import MARK
from respond_async.jobs.state import TRANSITIONS
from tests.support.jobs.functions import CONFIG
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until
from tests.support.workers import Worker

pytestmark = [pytest.mark.kafka, pytest.mark.faults]
ROOT = Path(__file__).parents[2]
SECRET = "a-secret-of-the-test-session-and-nothing-else"


class Witness:
    """Reads each job's record again and again; keeps what changed, and what must not have."""

    def __init__(self, url: str) -> None:
        self.wrong: list[str] = []
        self.looks = 0
        self._seen: dict[str, tuple[Status, int]] = {}
        self._redis = redis.Redis.from_url(url, decode_responses=True)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._redis.close()

    def _watch(self) -> None:
        while not self._over.wait(0.02):
            with suppress(redis.RedisError):
                for key in list(self._redis.scan_iter(f"{PREFIX}job:*", count=1000)):
                    self._look(str(key))
                self.looks += 1

    def _look(self, key: str) -> None:
        found: Any = self._redis.hmget(key, "status", "attempts", "completed", "holder")
        now, attempts = Status(found[0]), int(found[1] or 0)
        before, tries = self._seen.get(key, (Status.PENDING, 0))
        if now is not before and not _leads_to(before, now):
            self.wrong.append(f"{key}: from {before} to {now}")
        if attempts < tries:
            self.wrong.append(f"{key}: {attempts} attempts after {tries}")
        if now.ended != (found[2] is not None):
            self.wrong.append(f"{key}: {now}, and its end is {found[2]}")
        self._seen[key] = now, attempts


def _leads_to(before: Status, now: Status) -> bool:
    # RUNNING may have come and gone between two looks.
    return now in TRANSITIONS[before] or any(
        now in TRANSITIONS[between] for between in TRANSITIONS[before]
    )


class Scene:
    """A Redis of its own, Jobs over Kafka, workers that are killed."""

    def __init__(self, kafka: str, server: RedisServer, directory: Path) -> None:
        self.server = server
        self.file = directory / "notes"
        self._directory = directory
        self._queue = f"jobs-{secrets.token_hex(4)}"
        self._broker = f"kafka://{kafka}"
        self.celery = Celery(broker=self._broker, backend=server.url, set_as_current=False)
        self.celery.conf.task_default_queue = self._queue
        settings = Settings(redis_url=server.url, secret_key=[SecretStr(SECRET)])
        self.jobs = Jobs(self.celery, settings, CONFIG)
        self._runner = asyncio.Runner()
        self.workers: list[Worker] = []
        self.made: dict[str, Job] = {}

    def worker(self, *, wait: bool = True) -> Worker:
        name = f"w{len(self.workers)}"
        environment = {
            "REDIS_URL": self.server.url, "SECRET_KEY": SECRET, "PYTHONPATH": str(ROOT),
            "JOBS_BROKER": self._broker, "JOBS_QUEUE": self._queue,
        }  # fmt: skip
        worker = Worker(
            ROOT, "tests.support.jobs.worker", "--without-mingle", "--without-gossip",
            name=f"{name}-{self._queue}", log=self._directory / f"{name}.log", environment=environment,
        )  # fmt: skip
        self.workers.append(worker)
        return worker.start(wait=wait)

    def create(self, kind: str, label: str, seconds: float, **options: Any) -> None:
        name = "jobs.step_once" if kind == "once" else "jobs.step"
        if kind == "deduped":
            options["dedupe_key"] = label
        arguments = (str(self.file), label, seconds)
        made = self._runner.run(self.jobs.create(name, *arguments, **options))
        self.made[label] = made

    def deliver_again(self) -> None:
        """Each job's message once more."""
        for job in self.made.values():
            self.celery.send_task(job.name, task_id=job.id, kwargs={MARK: True})

    def now(self) -> dict[str, Job] | None:
        with suppress(TaskError):
            return {
                label: self._runner.run(self.jobs.get(job.id)) for label, job in self.made.items()
            }
        return None

    def ended(self, within: float) -> dict[str, Job]:
        def look() -> dict[str, Job] | None:
            now = self.now()
            return now if now and all(job.status.ended for job in now.values()) else None

        try:
            return wait_until(look, within=within, what="the end of all", every=0.3)
        except AssertionError as late:
            left = [job for job in (self.now() or {}).values() if not job.status.ended]
            raise AssertionError(f"{late}: {len(left)} of {len(self.made)}, {left[:5]}") from None

    def noted(self) -> Counter[str]:
        return Counter(self.file.read_text().splitlines()) if self.file.exists() else Counter()

    def began(self) -> int:
        return sum(each.startswith("began") for each in self.noted().elements())

    def close(self) -> None:
        for worker in self.workers:
            worker.kill()
        self._runner.run(self.jobs.close())
        self._runner.close()
        self.celery.close()


@pytest.fixture
def scene(kafka: str, tmp_path: Path) -> Iterator[Scene]:
    with ExitStack() as stack:
        server = stack.enter_context(RedisServer(tmp_path, keeps=True))
        made = Scene(kafka, server, tmp_path)
        stack.callback(made.close)
        yield made


def check(scene: Scene, ended: dict[str, Job]) -> Counter[Status]:
    """What the records say is what the jobs did."""
    noted = scene.noted()
    for label, job in ended.items():
        began, done = noted[f"began {label}"], noted[f"done {label}"]
        assert done <= began <= job.attempts, (label, job, began, done)
        assert (job.status is Status.COMPLETED) <= (done > 0), (label, job)
        if not label.startswith("again"):
            assert began <= 1, (label, job, began)
            # One that was done, and killed before it could say so, is lost too.
            lost = job.status is Status.FAILED
            assert lost or done == 1, (label, job, done)
            assert not lost or (job.error is not None and job.error.code == "lost"), job
        else:
            assert job.status is Status.COMPLETED, (label, job)
            assert job.result == label
    return Counter(job.status for job in ended.values())


def test_no_job_lies_under_kill_9_a_restart_of_redis_and_messages_that_come_twice(
    scene: Scene,
) -> None:
    for _ in range(2):
        scene.worker(wait=False)
    for worker in scene.workers:
        worker.wait_for("ready.", within=60)
    with Witness(scene.server.url) as witness:
        for number in range(8):
            for kind in ("again", "once", "deduped"):
                scene.create(kind, f"{kind}-{number}", 6)
        wait_until(lambda: scene.began() >= 12, within=60, what="half of them have begun")
        scene.deliver_again()
        for worker in list(scene.workers):
            worker.kill()
        scene.server.stop()
        scene.server.start()
        for _ in range(2):
            scene.worker(wait=False)
        ended = scene.ended(within=120)
        check(scene, ended)
        # And after the end: nothing happens any more, to what has ended.
        ran = scene.began()
        scene.deliver_again()
        scene.create("again", "again-last", 0)
        last = scene.ended(within=60)
        assert scene.began() == ran + 1
    assert witness.wrong == []
    assert witness.looks > 20
    for label, job in ended.items():
        after = last[label]
        was = (job.status, job.attempts, job.completed, job.result, job.error)
        assert (after.status, after.attempts, after.completed, after.result, after.error) == was
    # It was killed in the middle of some: otherwise nothing was tried here.
    assert any(job.attempts > 1 or job.status is Status.FAILED for job in ended.values())


@pytest.mark.long
def test_no_job_lies_in_a_minute_of_kills_and_restarts(scene: Scene) -> None:
    chance = random.Random(os.environ.get("PYTEST_SEED", "7"))
    for _ in range(2):
        scene.worker(wait=False)
    scene.workers[-1].wait_for("ready.", within=60)
    with Witness(scene.server.url) as witness:
        number, until = 0, time.monotonic() + 60
        while time.monotonic() < until:
            for _ in range(10):
                number += 1
                kind = chance.choice(["again", "once", "deduped"])
                with suppress(TaskError):
                    scene.create(kind, f"{kind}-{number}", chance.uniform(0, 4))
            match chance.randrange(4):
                case 0:
                    chance.choice(scene.workers).kill()
                    scene.worker(wait=False)
                case 1:
                    scene.server.stop()
                    scene.server.start()
                case 2:
                    scene.deliver_again()
                case _:
                    wait_until(lambda: True, within=1, what="")
        for _ in range(2):
            scene.worker(wait=False)
        ended = scene.ended(within=300)
    assert witness.wrong == []
    statuses = check(scene, ended)
    assert statuses[Status.COMPLETED] > len(ended) / 2
