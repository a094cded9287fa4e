"""The JavaScript client's own unit tests."""

from tests.support.node import node_test


def test_the_units_of_the_javascript_client() -> None:
    node_test("unit")
