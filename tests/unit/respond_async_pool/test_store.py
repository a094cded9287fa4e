"""Results of many tasks, written to a real Redis together."""

import asyncio
import contextvars
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from celery import Celery, states

from respond_async.pool.store import ResultWriter, _Entry, _Pen, _Retry, _Stored


@pytest.fixture
def backend(redis_url: str, clean_redis: "redis.Redis") -> Any:
    return Celery("store", backend=redis_url, set_as_current=False).backend


def entry(*args: Any, **kwargs: Any) -> _Entry:
    return _Entry(asyncio.Future(loop=_loop), contextvars.copy_context(), args, kwargs)


_loop = asyncio.new_event_loop()


def test_celerys_redis_backend_fits_and_one_with_its_own_ways_does_not(backend: Any) -> None:
    class Own(type(backend)):  # type: ignore[misc]
        def set(self, *_: Any, **__: Any) -> None: ...

    assert ResultWriter.fits(backend)
    assert not ResultWriter.fits(Own(app=backend.app))


def test_they_are_stored_as_the_backend_stores_them(backend: Any) -> None:
    outcomes = _Pen(backend).store([entry(f"t{n}", n, states.SUCCESS) for n in range(3)])
    assert outcomes == [_Stored(0), _Stored(1), _Stored(2)]
    together = backend.get_task_meta("t1")
    backend.store_result("alone", 1, states.SUCCESS)
    alone = backend.get_task_meta("alone")
    assert together.keys() == alone.keys()
    assert (together["status"], together["result"]) == (states.SUCCESS, 1)
    assert backend.client.ttl("celery-task-meta-t1") > 80_000


def test_a_success_is_never_overwritten(backend: Any) -> None:
    pen = _Pen(backend)
    pen.store([entry("t", "first", states.SUCCESS)])
    pen.store([entry("t", ValueError("late"), states.FAILURE)])
    assert backend.get_task_meta("t", cache=False)["result"] == "first"


def test_one_that_cannot_be_encoded_fails_alone(backend: Any) -> None:
    outcomes = _Pen(backend).store(
        [entry("bad", object(), states.SUCCESS), entry("good", 1, states.SUCCESS)]
    )
    assert isinstance(outcomes[0], Exception)
    assert outcomes[1] == _Stored(1)


def test_a_write_that_redis_refuses_is_tried_again_alone(backend: Any) -> None:
    backend.client.config_set("maxmemory", 1)
    try:
        outcomes = _Pen(backend).store([entry("t", 1, states.SUCCESS)])
    finally:
        backend.client.config_set("maxmemory", 0)
    assert isinstance(outcomes[0], _Retry)


def test_who_waits_is_told_of_a_store_that_fails(backend: Any) -> None:
    told: list[Any] = []
    mailbox: Any = SimpleNamespace(post=lambda *call: told.append(call), post_all=told.extend)
    with ThreadPoolExecutor(1) as threads:
        writer = ResultWriter(mailbox, threads, lambda: backend)
        writer._put(entry("t", object(), states.SUCCESS))
        writer.stop()
    ((_, (_, _, error)),) = told
    assert isinstance(error, Exception)
