"""The fixtures: `eager_jobs`, `jobs_worker`, `jobs_clock`, and what they are made of.

Nothing of it is imported before a test asks for it.
"""

import os
import secrets
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from respond_async.jobs.config import TaskConfig
    from respond_async.jobs.testing.clock import Clock
    from respond_async.jobs.testing.harness import JobsOfTest
    from respond_async.jobs.testing.server import TestRedis
    from respond_async.settings import Settings

_ENVIRONMENT_OPTION = "respond_async_redis"
_SERVER: "pytest.StashKey[TestRedis]" = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """One line of configuration."""
    parser.addini(
        _ENVIRONMENT_OPTION,
        "start a Redis for the tests before any module of the project is imported, and name it in "
        "REDIS_URL",
        type="bool",
        default=False,
    )


def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """The environment, before a conftest.py imports an app that reads it."""
    if early_config.getini(_ENVIRONMENT_OPTION):
        os.environ["REDIS_URL"] = _server(early_config).url


def pytest_unconfigure(config: pytest.Config) -> None:
    """Ends the session's Redis."""
    if _SERVER in config.stash:
        config.stash[_SERVER].stop()


@pytest.fixture(scope="session")
def jobs_redis_url(request: pytest.FixtureRequest) -> str:
    """The Redis of the tests' jobs, which is emptied for each test. Override it to use another."""
    return _server(request.config).url


@pytest.fixture(scope="session")
def jobs_settings(jobs_redis_url: str) -> "Settings":
    """The settings of the tests' jobs."""
    from pydantic import SecretStr

    from respond_async.settings import Settings

    if os.environ.get("SECRET_KEY"):
        return Settings(redis_url=jobs_redis_url)
    return Settings(redis_url=jobs_redis_url, secret_key=[SecretStr(secrets.token_urlsafe(48))])


@pytest.fixture
def jobs_config() -> "TaskConfig":
    """The configuration of the tests' jobs: that of the project's `Jobs`, if it is imported."""
    from respond_async.jobs import runtime
    from respond_async.jobs.config import TaskConfig

    known = runtime._current  # noqa: SLF001 - None is no error here
    return known.config if known is not None else TaskConfig()


@pytest.fixture
def _jobs_of_test(jobs_settings: "Settings", jobs_config: "TaskConfig") -> Iterator["JobsOfTest"]:
    from respond_async.jobs.testing.harness import JobsOfTest

    with pytest.MonkeyPatch.context() as patch:
        made = JobsOfTest(jobs_settings, jobs_config, patch)
        try:
            yield made
        finally:
            made.close()


@pytest.fixture
def jobs_clock(_jobs_of_test: "JobsOfTest") -> "Clock":
    """A clock that stands still: `advance(seconds)`, `move_to(datetime)`, `now`."""
    return _jobs_of_test.clock or _jobs_of_test.use_clock()


@pytest.fixture
def eager_jobs(request: pytest.FixtureRequest, _jobs_of_test: "JobsOfTest") -> "JobsOfTest":
    """Jobs run in this process as they are created; `create_task` returns after their end."""
    _with_clock(request)
    _jobs_of_test.run_eagerly()
    return _jobs_of_test


@pytest.fixture
def jobs_worker(request: pytest.FixtureRequest, _jobs_of_test: "JobsOfTest") -> "JobsOfTest":
    """Jobs are run by a Celery worker in this process, over a broker in memory."""
    _with_clock(request)
    _jobs_of_test.run_in_worker()
    return _jobs_of_test


def _with_clock(request: pytest.FixtureRequest) -> None:
    # It must be there before what goes by it, in whichever order the test names them.
    if "jobs_clock" in request.fixturenames:
        request.getfixturevalue("jobs_clock")


def _server(config: pytest.Config) -> "TestRedis":
    from respond_async.jobs.testing.server import TestRedis

    if _SERVER not in config.stash:
        config.stash[_SERVER] = TestRedis()
    return config.stash[_SERVER]
