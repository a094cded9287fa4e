import pytest
from kombu import Connection

import kafka_transport
from kafka_transport.clients import AdminClient, Consumer, Producer
from kafka_transport.config import (
    Options,
    bootstrap_servers,
    client_properties,
    credentials,
    for_consumer,
    for_producer,
    hide_password,
)
from kafka_transport.topics import exchange_topic, queue_topic


@pytest.mark.parametrize(
    ("hosts", "expected"),
    [
        (["kafka://a:1,b:2"], "a:1,b:2"),
        (["kafka://a,b:2/"], "a:9092,b:2"),
        (["kafka://user:p%40ss@a"], "a:9092"),
        (["kafka://a:1", "kafka://b:2", "kafka://a:1"], "a:1,b:2"),
        (["kafka://[::1]:9093,[::2]"], "[::1]:9093,[::2]:9092"),
        (["a"], "a:9092"),
        (["kafka://"], "localhost:9092"),
    ],
)
def test_every_broker_of_the_url_is_used(hosts: list[str], expected: str) -> None:
    assert bootstrap_servers(hosts) == expected


def test_a_password_is_used_and_never_shown() -> None:
    url = "kafka://user:p%40ss@a:1,b:2"
    assert credentials(url) == ("user", "p@ss")
    assert hide_password(url) == "kafka://user:**@a:1,b:2"
    assert "p%40ss" not in Connection(url).as_uri()


def test_login_and_tls_choose_the_protocol() -> None:
    def made(login: tuple[str, str] | None, ssl: object) -> dict[str, object]:
        return client_properties(servers="a", login=login, ssl=ssl, options=Options())

    assert "security.protocol" not in made(None, ssl=False)
    assert made(("u", "p"), ssl=False)["security.protocol"] == "SASL_PLAINTEXT"
    tls = made(("u", "p"), {"ca_certs": "/ca.pem"})
    assert tls["security.protocol"] == "SASL_SSL"
    assert tls["ssl.ca.location"] == "/ca.pem"


def test_properties_of_librdkafka_have_the_last_word() -> None:
    options = Options.of({"kafka_common_config": {"client.id": "mine"}, "max_retries": 3})
    made = client_properties(servers="a", login=None, ssl=None, options=options)
    assert made["client.id"] == "mine"


def test_each_kind_of_client_gets_the_common_properties_that_it_knows() -> None:
    common = {"client.id": "x", "fetch.wait.max.ms": 10, "linger.ms": 5}
    assert for_producer(common) == {"client.id": "x", "linger.ms": 5}
    assert for_consumer(common) == {"client.id": "x", "fetch.wait.max.ms": 10}


@pytest.mark.parametrize(
    "bad",
    [
        {"auto_offset_reset": "newest"},
        {"num_partitions": 0},
        {"publish_timeout": -1},
        {"max_ahead": 10**6},
    ],
)
def test_a_value_that_cannot_be_used_is_named(bad: dict[str, object]) -> None:
    with pytest.raises(kafka_transport.InvalidOption, match=next(iter(bad))):
        Options.of(bad)


def test_queues_are_topics_of_the_same_name() -> None:
    assert queue_topic("celery") == "celery"
    assert queue_topic("celery", "dev.") == "dev.celery"


@pytest.mark.parametrize(
    "bad", ["", "with space", "ä", "x" * 250, "..", "celery@host", "q.delay", "q.exchange"]
)
def test_a_durable_queue_that_cannot_be_a_topic_is_refused_by_name(bad: str) -> None:
    with pytest.raises(kafka_transport.InvalidName, match="durable queue"):
        queue_topic(bad)


def test_every_exchange_has_a_legal_topic() -> None:
    assert exchange_topic("celeryev") == "celeryev.exchange"
    assert exchange_topic("") == "default.exchange"
    assert exchange_topic("a b") == "a-20-b.exchange"


@pytest.mark.parametrize("kind", [Producer, Consumer, AdminClient])
def test_a_property_that_librdkafka_does_not_know_is_named(kind: type[Producer]) -> None:
    with pytest.raises(kafka_transport.InvalidOption, match=r"no\.such\.property"):
        kind({"bootstrap.servers": "a", "group.id": "g", "no.such.property": 1})
