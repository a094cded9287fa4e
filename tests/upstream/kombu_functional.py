"""kombu's functional tests, which it keeps as base classes, on the broker named by TEST_BROKER.

Run by `make upstream`, beside kombu's own t/integration/common.py.
"""

import importlib
import os
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import kombu
import pytest

# Not installed, and without types.
common: Any = importlib.import_module("t.integration.common")

URL = os.environ["TEST_BROKER"]
SCHEME = urlsplit(URL).scheme
NOBODY = f"{SCHEME}://127.0.0.1:1"

#: They wait one second for a message; kombu repeats them for its own Kafka transport as well.
pytestmark = pytest.mark.flaky(reruns=3, reruns_delay=1)


@pytest.fixture
def connection() -> Iterator[kombu.Connection]:
    connection = kombu.Connection(URL)
    yield connection
    connection.release()


@pytest.fixture
def invalid_connection() -> Iterator[kombu.Connection]:
    connection = kombu.Connection(NOBODY, connect_timeout=1)
    yield connection
    connection.release()


@pytest.fixture
def failover_connection() -> Iterator[kombu.Connection]:
    connection = kombu.Connection(f"{NOBODY};{URL}", connect_timeout=1)
    yield connection
    connection.release()


class test_basic_functionality(common.BasicFunctionality):  # type: ignore[misc]  # noqa: N801
    pass


class test_exchange_types(common.BaseExchangeTypes):  # type: ignore[misc]  # noqa: N801
    pass


class test_time_to_live(common.BaseTimeToLive):  # type: ignore[misc]  # noqa: N801
    pass


class test_priority(common.BasePriority):  # type: ignore[misc]  # noqa: N801
    #: As with RabbitMQ the higher number is first; with Celery's Redis broker the lower.
    PRIORITY_ORDER = "desc" if SCHEME == "redis" else "asc"


class test_message(common.BaseMessage):  # type: ignore[misc]  # noqa: N801
    pass


class test_event_loop(common.BaseEventLoop):  # type: ignore[misc]  # noqa: N801
    pass


class test_failover(common.BaseFailover):  # type: ignore[misc]  # noqa: N801
    pass
