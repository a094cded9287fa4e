"""The JavaScript client in Node, against the reference service."""

import pytest

from tests.support.node import node_test
from tests.support.service import Service

NAME = "channel-of-the-test"

pytestmark = [pytest.mark.kafka, pytest.mark.e2e]


def test_the_javascript_client_in_node(service: Service) -> None:
    # The first request makes topics and waits for the worker to join.
    service.result(
        service.accepted("GET", "/api/v1/demo/sleep?seconds=0", NAME).json()["meta"][
            "async_request_id"
        ],
        NAME,
    )
    node_test("service", SERVICE_URL=service.url)
