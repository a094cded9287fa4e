"""The pool's settings in Celery's configuration."""

import subprocess
import sys
from typing import Any

import pytest
from celery import Celery, signals

import respond_async.pool
from respond_async.pool import DEFAULT_CONCURRENCY, AsyncioPool, Options, PoolError


def app(**configuration: Any) -> Celery:
    celery = Celery("options", set_as_current=False)
    celery.conf.update(configuration)
    return celery


def test_they_have_defaults() -> None:
    assert Options.of(app()) == Options()


def test_each_is_named_after_the_worker() -> None:
    options = Options.of(app(worker_asyncio_threads=4, worker_asyncio_grace_seconds=2))
    assert (options.threads, options.grace_seconds) == (4, 2.0)


@pytest.mark.parametrize(
    ("name", "value"),
    [("threads", 0), ("threads", "many"), ("grace_seconds", -1), ("uvloop", "yes")],
)
def test_one_that_cannot_be_is_named(name: str, value: object) -> None:
    with pytest.raises(PoolError, match=f"worker_asyncio_{name} is {value!r}"):
        Options.of(app(**{f"worker_asyncio_{name}": value}))


@pytest.mark.parametrize(
    ("chosen", "given", "configured", "expected"),
    [
        (AsyncioPool, None, None, DEFAULT_CONCURRENCY),
        (AsyncioPool, 3, None, None),
        (AsyncioPool, None, 7, 7),
        ("celery.concurrency.prefork:TaskPool", None, None, None),
    ],
)
def test_hundreds_are_the_default_of_this_pool_alone(
    chosen: object, given: int | None, configured: int | None, expected: int | None
) -> None:
    celery = app(worker_concurrency=configured)
    options = {"pool_cls": chosen, "concurrency": given}
    signals.celeryd_init.send(sender="w", instance=None, conf=celery.conf, options=options)
    assert celery.conf.worker_concurrency == expected


def test_the_pool_imports_nothing_else_of_ours() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _IMPORTED],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.split() == []


# The parent package is made empty: what `import respond_async` brings is not the pool's doing.
_IMPORTED = f"""
import sys, types
parent = types.ModuleType("respond_async")
parent.__path__ = [{next(iter(respond_async.pool.__path__)).rpartition("/")[0]!r}]
sys.modules["respond_async"] = parent
import respond_async.pool
ours = ("respond_async.", "ws_hub", "kafka_transport", "fastapi", "pydantic", "httpx", "uvloop")
print(*(m for m in sys.modules if m.startswith(ours) and not m.startswith("respond_async.pool")))
"""
