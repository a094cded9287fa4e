"""Real servers for the session, on free ports, so that several runs do not disturb each other."""

import logging
import os
import signal
from collections.abc import Iterator

import hypothesis
import pytest
import redis

from respond_async.jobs import runtime
from tests.support.kafka_server import KafkaServer, missing
from tests.support.redis_server import RedisServer
from tests.support.secured_kafka import SecuredKafka

# A shell has what it starts in the background ignore Ctrl-C, and so would what tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A loaded machine is no failure.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")


@pytest.fixture(autouse=True, scope="module")
def no_jobs_of_another_module() -> Iterator[None]:
    """The fixtures of the plug-in take the configuration of the process's jobs."""
    yield from _jobs_as_they_were()


@pytest.fixture(autouse=True)
def no_jobs_of_another_test() -> Iterator[None]:
    yield from _jobs_as_they_were()


def _jobs_as_they_were() -> Iterator[None]:
    before = runtime._current
    yield
    runtime._current = before


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="session")
def redis_url(redis_server: RedisServer) -> str:
    return redis_server.url


@pytest.fixture
def clean_redis(redis_server: RedisServer) -> Iterator["redis.Redis"]:
    client = redis.Redis(port=redis_server.port, decode_responses=True)
    client.flushall()
    yield client
    client.close()


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Bootstrap servers of a real Kafka: the given one, else one started here."""
    given = os.environ.get("KAFKA_TEST_BOOTSTRAP_SERVERS")
    if given:
        yield given
        return
    need_kafka()
    with KafkaServer(tmp_path_factory.mktemp("kafka")) as server:
        yield server.bootstrap_servers


@pytest.fixture(scope="session")
def secured_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    """One broker with every kind of login, certificate and ACL."""
    need_kafka()
    with SecuredKafka(tmp_path_factory.mktemp("secured-kafka")) as server:
        yield server


@pytest.fixture
def own_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    """A broker of the test's own, which it may stop, kill and start."""
    need_kafka()
    with KafkaServer(tmp_path_factory.mktemp("own-kafka")) as server:
        yield server


def need_kafka() -> None:
    """Skips loudly where no real Kafka can be had; with REQUIRE_KAFKA set (CI) that is a failure."""
    lacking = missing()
    if lacking is None:
        return
    if os.environ.get("REQUIRE_KAFKA"):
        pytest.fail(f"REQUIRE_KAFKA is set and there is no Kafka: {lacking}")
    pytest.skip(f"NO REAL KAFKA: {lacking}")


def pytest_unconfigure() -> None:
    # Clients whose broker a test has ended say so until the end, then to streams already closed.
    logging.raiseExceptions = False


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    every = terminalreporter.stats.get("skipped", [])
    for lacking, remedy in (
        ("NO NODE", "apt-get install nodejs (20 or newer)"),
        ("NO CHROMIUM", "apt-get install chromium"),
        ("NO REDIS 7", "apt-get install redis-server (7 or newer): Sentinel and Cluster"),
    ):
        if count := sum(lacking in str(report.longrepr) for report in every):
            terminalreporter.section(f"{lacking}: NOT TESTED", red=True, bold=True)
            terminalreporter.line(f"{count} tests were skipped: {remedy}")
    skipped = [r for r in every if "NO REAL KAFKA" in str(r.longrepr)]
    if skipped:
        terminalreporter.section("NOT TESTED ON A REAL KAFKA", red=True, bold=True)
        terminalreporter.line(f"{len(skipped)} tests were skipped: {missing()}")
