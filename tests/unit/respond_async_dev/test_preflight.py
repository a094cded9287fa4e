"""What is checked before anything starts. The checks on real sockets are integration tests."""

import pytest

from respond_async.dev import preflight
from respond_async.dev.errors import OptionError
from respond_async.dev.options import Options
from tests.support.ports import free_port


def check(environment: dict[str, str], *arguments: str) -> None:
    ports = {"PORT": str(free_port()), "FLOWER_PORT": str(free_port())}
    preflight.check(Options.read(arguments, ports | environment))


def test_a_machine_with_everything_may_run() -> None:
    check({})


@pytest.mark.parametrize("servers", [",", "k1:9092,", ":9092", "k1:port", "k1:99999", "k1:0"])
def test_bootstrap_servers_of_another_form_are_refused(servers: str) -> None:
    with pytest.raises(OptionError, match=r"KAFKA_BOOTSTRAP_SERVERS: .* is not of the form"):
        check({"KAFKA_BOOTSTRAP_SERVERS": servers})


def test_a_redis_url_without_a_port_that_is_one_is_refused_without_its_password() -> None:
    with pytest.raises(OptionError, match="REDIS_URL has a port that is no port") as refused:
        check({"REDIS_URL": "redis://:swordfish@db:port/0"})
    assert "swordfish" not in str(refused.value)


def test_a_host_that_is_no_address_is_refused() -> None:
    with pytest.raises(OptionError, match=r"not\.an\.address\.invalid is no address"):
        check({}, "--host", "not.an.address.invalid")
