"""What the pool does around a task."""

import gc
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery
from celery.worker.request import Request
from kombu.message import Message

from respond_async.pool import AsyncioPool
from respond_async.pool.job import Job

PAYLOAD = b'[[1], {"name": "value"}, {}]'


def nothing(*_: object, **__: object) -> None:
    """A task."""


@pytest.fixture
def app() -> Iterator[Celery]:
    with Celery("pool", broker="memory://", set_as_current=False) as celery:
        celery.task(name="nothing")(nothing)
        yield celery


def pool_of(app: Celery) -> AsyncioPool:
    return AsyncioPool(2, app=app, threads=True)


def given_to_the_tracer(app: Celery, body: bytes) -> tuple[Any, ...]:
    """What a job of a request's is begun with; the pool is not started."""
    message = Message(
        body,  # type: ignore[arg-type]
        content_type="application/json", content_encoding="utf-8",
        headers={"id": "1", "task": "nothing"},
    )  # fmt: skip
    request = Request(message, app=app, hostname="here")
    pool = pool_of(app)
    request.execute_using_pool(pool)
    (job,) = pool._slots.running
    assert isinstance(job, Job)
    assert job._args[3] is message.payload
    return tuple(job._args)


def test_a_message_is_read_once(app: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AsyncioPool, "_begin", lambda *_: None)
    *_, body, content_type, encoding = given_to_the_tracer(app, PAYLOAD)
    assert body == [[1], {"name": "value"}, {}]
    # Without a type Celery's tracer takes the body for what was read.
    assert (content_type, encoding) == (None, None)


@pytest.mark.parametrize(("threshold", "expected"), [(None, 20_000), (5, 5), (0, None)])
def test_python_looks_for_cycles_less_often_while_the_pool_runs(
    app: Celery, threshold: int | None, expected: int | None
) -> None:
    before = gc.get_threshold()
    if threshold is not None:
        app.conf.worker_asyncio_gc_threshold = threshold
    pool = pool_of(app)
    pool.on_start()
    try:
        assert gc.get_threshold()[0] == (expected or before[0])
    finally:
        pool.on_stop()
    assert gc.get_threshold() == before
