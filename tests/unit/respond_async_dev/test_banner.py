"""What the banner promises and admits."""

from respond_async.dev.banner import banner
from respond_async.dev.options import Options


def text(environment: dict[str, str], *arguments: str) -> str:
    options = Options.read(arguments, environment)
    return banner(options, redis="redis://127.0.0.1:1/0", kafka="127.0.0.1:2")


def test_the_curl_line_stands_alone_and_asks_the_demo() -> None:
    assert (
        "curl -i -H 'X-Async-Request: true' 'http://localhost:8000/api/v1/demo/sleep?seconds=2'"
        in text({}).splitlines()
    )


def test_the_urls_have_the_chosen_ports() -> None:
    shown = text({"PORT": "8100", "FLOWER_PORT": "5600"})
    for url in ("http://localhost:8100 ", "ws://localhost:8100/ws", "http://localhost:5600"):
        assert url in shown


def test_a_service_for_the_network_is_shown_by_a_name_that_works_here() -> None:
    assert "http://localhost:8000" in text({}, "--host", "0.0.0.0")
    assert "http://192.0.2.1:8000" in text({}, "--host", "192.0.2.1")


def test_every_measured_limit_of_the_embedded_broker_is_admitted() -> None:
    shown = text({})
    for limit in (
        "never for production", "in memory", "gone at exit", "silently drops", "5 MB",
        "cannot create topics", "4 partitions", "about 3 s", "classic group protocol",
    ):  # fmt: skip
        assert limit in shown


def test_a_real_kafka_has_none_of_these_limits() -> None:
    shown = text({"KAFKA_BOOTSTRAP_SERVERS": "k1:9092,k2:9092"})
    assert "k1:9092,k2:9092" in shown
    assert "mock" not in shown


def test_a_given_redis_url_is_not_printed() -> None:
    shown = text({"REDIS_URL": "redis://:swordfish@db:6379/0"})
    assert "swordfish" not in shown
    assert "embedded Redis" not in shown
