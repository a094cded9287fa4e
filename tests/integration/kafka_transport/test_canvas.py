"""What Celery's own suite asks of a broker, in short, in every pool; `make upstream` runs the whole."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import Celery, Signature, chain, chord, group
from celery.exceptions import ChordError, TaskRevokedError
from celery.result import AsyncResult

import kafka_transport
from tests.support.celery_nodes import (
    KafkaBroker,
    ProcessSetup,
    RedisBackend,
    SharedServer,
    celery_setup,
)
from tests.support.waiting import wait_until

pytestmark = pytest.mark.kafka

POOLS = ("solo", "prefork", "threads", "respond_async.pool:AsyncioPool")
TIMEOUT = 30

TASKS = """\
@app.task
def add(x, y):
    return x + y

@app.task
def total(numbers):
    return sum(numbers)

@app.task
def now(*_):
    return time.time()

@app.task
def nap(seconds):
    time.sleep(seconds)
    return seconds

@app.task
def fail(*_):
    raise ValueError("as told")

@app.task(bind=True)
def fails_twice(self):
    if self.request.retries < 2:
        raise self.retry(countdown=0.2)
    return self.request.retries

@app.task(bind=True)
def becomes_chain(self, x):
    raise self.replace(add.s(x, 1) | add.s(10))

@app.task(bind=True)
def becomes_group(self, x):
    raise self.replace(group(add.s(x, i) for i in range(3)))

@app.task
def keep(failed_id, key):
    app.backend.client.incr(key)

@app.task
def mark(key):
    app.backend.client.incr(key)
"""


@pytest.fixture(scope="module", params=POOLS, ids=lambda pool: pool.rpartition(":")[2])
def setup(
    request: pytest.FixtureRequest,
    kafka: str,
    redis_url: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[ProcessSetup]:
    broker = KafkaBroker(SharedServer("kafka", f"{kafka_transport.SCHEME}://{kafka}"))
    backend = RedisBackend(SharedServer("redis", redis_url))
    directory = tmp_path_factory.mktemp("canvas")
    pool = {"worker_pool": request.param, "worker_concurrency": 2}
    with celery_setup(broker, backend, directory, TASKS, settings=pool) as setup:
        yield setup


@pytest.fixture
def app(setup: ProcessSetup) -> Celery:
    app: Celery = setup.app
    return app


def sig(app: Celery, name: str, *arguments: Any, **options: Any) -> Signature[Any]:
    found: Signature[Any] = app.signature(f"project.{name}", arguments, options=options)
    return found


def count(app: Celery, key: str) -> int:
    backend: Any = app.backend
    return int(backend.client.get(key) or 0)


def test_the_setup_is_ready(setup: ProcessSetup) -> None:
    assert setup.ready()
    setup.worker.assert_log_exists("ready.")
    assert set(setup.app.control.inspect().stats()) == {setup.worker.hostname()}


def test_chain(app: Celery) -> None:
    result = chain(sig(app, "add", 1, 2), sig(app, "add", 3), sig(app, "add", 4)).apply_async()
    assert result.get(timeout=TIMEOUT) == 10


def test_group(app: Celery) -> None:
    result = group(sig(app, "add", i, i) for i in range(10)).apply_async()
    assert result.get(timeout=TIMEOUT) == [2 * i for i in range(10)]


def test_chord_in_a_chain(app: Celery) -> None:
    canvas: Any = (
        sig(app, "add", 1, 1)
        | group(sig(app, "add", i) for i in range(5))
        | sig(app, "total")
        | sig(app, "add", 100)
    )
    assert canvas.apply_async().get(timeout=TIMEOUT) == 120


def test_chord_of_chains_and_groups(app: Celery) -> None:
    header = [
        sig(app, "add", 1, 1) | sig(app, "add", 1),
        group(sig(app, "add", 2, 2), sig(app, "add", 3, 3)),
        chord([sig(app, "add", 4, 4), sig(app, "add", 5, 5)], sig(app, "total")),
    ]
    assert chord(header, sig(app, "total")).apply_async().get(timeout=TIMEOUT) == 31


def test_a_task_becomes_a_chain_or_a_group(app: Celery) -> None:
    assert sig(app, "becomes_chain", 1).apply_async().get(timeout=TIMEOUT) == 12
    canvas: Any = sig(app, "becomes_group", 1) | sig(app, "total")
    assert canvas.apply_async().get(timeout=TIMEOUT) == 6


def test_a_failure_ends_the_chain_and_calls_its_errback(app: Celery) -> None:
    key = f"errback-{time.monotonic_ns()}"
    canvas: Any = chain(sig(app, "fail"), *(sig(app, "add", 1) for _ in range(20)))
    result = canvas.on_error(sig(app, "keep", key)).apply_async()
    with pytest.raises(ValueError, match="as told"):
        result.get(timeout=TIMEOUT)
    wait_until(lambda: count(app, key) == 1, within=TIMEOUT, what="the errback")


def test_a_failure_in_a_chord_fails_its_body(app: Celery) -> None:
    result = chord([sig(app, "add", 1, 1), sig(app, "fail")], sig(app, "total")).apply_async()
    # Which of the two is raised depends on whose result is seen first.
    with pytest.raises((ChordError, ValueError), match="as told"):
        result.get(timeout=TIMEOUT)
    wait_until(lambda: result.state == "FAILURE", within=TIMEOUT, what="the body's end")


def test_link_runs_once_after_success(app: Celery) -> None:
    key = f"link-{time.monotonic_ns()}"
    result = app.send_task("project.add", (1, 1), link=sig(app, "mark", key).set(immutable=True))
    assert result.get(timeout=TIMEOUT) == 2
    wait_until(lambda: count(app, key) == 1, within=TIMEOUT, what="the callback")


def test_retry(app: Celery) -> None:
    assert sig(app, "fails_twice").apply_async().get(timeout=TIMEOUT) == 2


def test_nothing_runs_before_its_eta(app: Celery) -> None:
    due = datetime.now(UTC) + timedelta(seconds=1.5)
    assert sig(app, "now").apply_async(eta=due).get(timeout=TIMEOUT) >= due.timestamp() - 0.001


def test_expired_tasks_do_not_run(app: Celery) -> None:
    with pytest.raises(TaskRevokedError):
        sig(app, "now").apply_async(expires=datetime.now(UTC) - timedelta(seconds=1)).get(
            timeout=TIMEOUT
        )


def test_revoked_tasks_do_not_run(app: Celery) -> None:
    result: AsyncResult[Any] = sig(app, "now").apply_async(countdown=1.5)
    assert app.control.revoke(result.id, reply=True, timeout=3)
    with pytest.raises(TaskRevokedError):
        result.get(timeout=TIMEOUT)


def test_a_running_task_can_be_terminated(setup: ProcessSetup, app: Celery) -> None:
    if setup.app.conf.worker_pool != "prefork":
        pytest.skip("only prefork can end a plain function that runs")
    result = sig(app, "nap", 60).apply_async()
    inspect = app.control.inspect()
    wait_until(lambda: any((inspect.active() or {}).values()), within=TIMEOUT, what="the task")
    result.revoke(terminate=True)
    with pytest.raises(TaskRevokedError):
        result.get(timeout=TIMEOUT)
    assert sig(app, "add", 1, 1).apply_async().get(timeout=TIMEOUT) == 2
