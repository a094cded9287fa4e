import pytest

import kafka_transport
from kafka_transport.clients import AdminClient, Consumer, Producer
from kafka_transport.config import (
    Options,
    client_properties,
    for_consumer,
    for_producer,
    for_tail,
)


def test_properties_of_librdkafka_have_the_last_word() -> None:
    options = Options.of({"kafka_common_config": {"client.id": "mine"}, "max_retries": 3})
    made = client_properties(servers="a", security={}, options=options)
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
        {"topic_prefix": "a b"},
    ],
)
def test_a_value_that_cannot_be_used_is_named(bad: dict[str, object]) -> None:
    with pytest.raises(kafka_transport.InvalidOption, match=next(iter(bad))):
        Options.of(bad)


@pytest.mark.parametrize(
    ("option", "name", "value", "why"),
    [
        ("kafka_consumer_config", "enable.auto.commit", True, "acked"),
        ("kafka_consumer_config", "group.id", "mine", "group_id"),
        ("kafka_producer_config", "acks", 1, "replicas"),
        ("kafka_common_config", "enable.idempotence", "false", "once"),
        ("kafka_common_config", "bootstrap.servers", "a", "broker_url"),
    ],
)
def test_a_property_that_breaks_a_promise_is_refused_with_the_reason(
    option: str, name: str, value: object, why: str
) -> None:
    with pytest.raises(kafka_transport.InvalidOption, match=f"{option}.*{name}.*{why}"):
        Options.of({option: {name: value}})


def test_a_property_that_says_what_is_so_anyway_is_taken() -> None:
    Options.of({"kafka_producer_config": {"acks": "all", "enable.idempotence": True}})


def test_an_option_that_is_nearly_one_of_ours_is_named() -> None:
    with pytest.raises(kafka_transport.InvalidOption, match=r"'topic_prefx'.*'topic_prefix'"):
        Options.of({"topic_prefx": "dev."})
    Options.of({"max_retries": 3, "interval_start": 0, "visibility_timeout": 3600})


def test_consumers_without_a_group_get_the_properties_that_mean_something_to_them() -> None:
    options = Options.of(
        {"kafka_consumer_config": {"fetch.wait.max.ms": 5, "max.poll.interval.ms": 9}}
    )
    assert for_tail({"client.id": "x", "linger.ms": 1}, options) == {
        "client.id": "x",
        "fetch.wait.max.ms": 5,
    }


@pytest.mark.parametrize("kind", [Producer, Consumer, AdminClient])
def test_a_property_that_librdkafka_does_not_know_is_named(kind: type[Producer]) -> None:
    with pytest.raises(kafka_transport.InvalidOption, match=r"no\.such\.property"):
        kind({"bootstrap.servers": "a", "group.id": "g", "no.such.property": 1})
