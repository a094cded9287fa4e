"""The reference service with one worker, for the tests of a module."""

from collections.abc import Iterator

import pytest

from tests.support.service import Service


@pytest.fixture(scope="module")
def service(
    kafka: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    examples = {
        "EXAMPLES_DIRECTORY": str(tmp_path_factory.mktemp("examples")),
        "EXAMPLES_ORDERS": "50000",
    }
    with Service(tmp_path_factory.mktemp("service"), kafka, redis_url, **examples) as running:
        running.worker("w1")
        yield running
