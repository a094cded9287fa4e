"""Loaded into the process that runs an upstream suite: registers the transport, keeps the outcomes.

`UPSTREAM_OUTCOMES` names the file that gets a line of JSON for each outcome; `UPSTREAM_POOL` the
pool of the session's worker.
"""

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from _pytest.fixtures import SubRequest

import kafka_transport  # noqa: F401  else kombu's own kafka:// is used

OUTCOMES = "UPSTREAM_OUTCOMES"
POOL = "UPSTREAM_POOL"


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Recorder(Path(os.environ[OUTCOMES])))


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any], request: SubRequest) -> object | None:
    """Celery's conftest says prefork; a conftest's fixture cannot be overridden from a plugin."""
    pool = os.environ.get(POOL)
    if fixturedef.argname != "celery_worker_pool" or not pool:
        return None
    fixturedef.cached_result = (pool, fixturedef.cache_key(request), None)
    return pool


class Recorder:
    """Writes what is to be run, and each test's outcome once it is over: a killed run leaves both."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._failed = False
        self._outcome = "missing"

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._write((item.nodeid, "missing") for item in session.items)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self._failed, self._outcome = False, "missing"
        result = yield
        self._write([(item.nodeid, "failed" if self._failed else self._outcome)])
        return result

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if str(report.outcome) == "rerun":
            self._failed, self._outcome = False, "missing"
        elif report.failed:
            self._failed = True
        elif report.skipped:
            self._outcome = "xfailed" if hasattr(report, "wasxfail") else "skipped"
        elif report.when == "call":
            self._outcome = "xfailed" if hasattr(report, "wasxfail") else "passed"

    def _write(self, outcomes: Iterable[tuple[str, str]]) -> None:
        with self._path.open("a") as file:
            for test, outcome in outcomes:
                file.write(json.dumps({"test": test, "outcome": outcome}) + "\n")
