"""What a transport says of its cluster and queues, and what to do."""

import uuid
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # it has no __all__
    AclOperation,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)
from kombu import Connection, Queue

import kafka_transport
from kafka_transport.operations import Finding, diagnose
from tests.support.ports import free_port
from tests.support.secured_kafka import SecuredKafka, password_of
from tests.support.waiting import wait_until

pytestmark = pytest.mark.kafka

Connect = Callable[..., Connection]


def found_in(connection: Connection, *queues: str) -> dict[str, list[Finding]]:
    found: dict[str, list[Finding]] = {}
    for one in diagnose(connection, queues):
        assert one.remedy or one.level == "ok", one
        found.setdefault(one.subject, []).append(one)
    return found


def texts(found: list[Finding], level: str) -> str:
    return "; ".join(one.what for one in found if one.level == level)


def configure(kafka: str, topic: str, **config: str) -> None:
    entries = [
        ConfigEntry(name.replace("_", "."), value, incremental_operation=AlterConfigOpType.SET)
        for name, value in config.items()
    ]
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
    admin = AdminClient({"bootstrap.servers": kafka})
    for future in admin.incremental_alter_configs([resource]).values():
        future.result(10)


def test_a_queue_that_is_consumed_is_well_and_one_that_is_not_fails(
    connect: Connect, prefix: str
) -> None:
    connection = connect()
    queue = Queue("tasks", channel=connection.default_channel)
    queue.declare()
    subject = f"group {prefix}group.{prefix}tasks"
    before = found_in(connect(), "tasks")
    assert texts(before[subject], "failure") == "nobody consumes tasks; 0 wait"
    assert texts(before["kafka"], "ok").startswith("1 brokers answer")
    assert texts(before[f"topic {prefix}tasks"], "warning").startswith("4 partitions, 1 replicas")
    assert texts(before[f"access to {prefix}tasks"], "ok")

    with connection.Consumer([queue]):
        wait_until(
            lambda: "1 workers" in texts(found_in(connect(), "tasks")[subject], "ok"),
            within=30, what="its consumer is seen",
        )  # fmt: skip


def test_a_topic_that_loses_messages_is_told(connect: Connect, kafka: str, prefix: str) -> None:
    Queue("tasks", channel=connect().default_channel).declare()
    topic = f"{prefix}tasks"
    configure(
        kafka, topic, retention_ms="604800000", cleanup_policy="compact", min_insync_replicas="2"
    )

    def found() -> list[Finding]:
        return found_in(connect(), "tasks")[f"topic {topic}"]

    wait_until(lambda: "drops what" in texts(found(), "warning"), within=20, what="it is in force")
    assert "168 h" in texts(found(), "warning")
    assert "is compacted" in texts(found(), "failure")
    assert "min.insync.replicas is 2 of 1 replicas" in texts(found(), "failure")
    assert any(f"--topic {topic} --add-config retention.ms=-1" in one.remedy for one in found())


def test_a_queue_that_nobody_has_made_is_no_failure(connect: Connect, prefix: str) -> None:
    [one] = found_in(connect(), "tasks")[f"topic {prefix}tasks"]
    assert (one.level, one.what) == ("warning", "is not there")


def test_no_broker_and_a_wrong_option_are_findings() -> None:
    address = f"127.0.0.1:{free_port()}"
    gone = Connection(f"{kafka_transport.SCHEME}://:swordfish@{address}", connect_timeout=1)
    [one] = diagnose(gone, ["tasks"])
    assert one.level == "failure"
    assert address in one.what
    assert "swordfish" not in str(one)
    wrong = Connection(
        f"{kafka_transport.SCHEME}://{address}", transport_options={"num_partition": 1}
    )
    [one] = diagnose(wrong, ["tasks"])
    assert "do you mean 'num_partitions'" in one.what


def test_missing_acls_are_named_with_the_command_that_grants_them(
    secured_kafka: SecuredKafka,
) -> None:
    topic = f"d{uuid.uuid4().hex[:8]}"
    options: dict[str, Any] = {
        "group_id": topic,
        "kafka_common_config": {"sasl.mechanism": "PLAIN"},
    }

    def of(user: str) -> dict[str, list[Finding]]:
        login = f"{user}:{quote(password_of(user), safe='')}"
        # Each a new one: a process keeps what it knows of a cluster.
        own = options | {"client_id_for_the_test": uuid.uuid4().hex}
        connection = Connection(
            f"{kafka_transport.SCHEME}://{login}@{secured_kafka.at('SASL')}", transport_options=own
        )
        try:
            found = found_in(connection, topic)
        finally:
            connection.release()
        assert password_of(user) not in str(found)
        return found

    admin = Connection(f"{kafka_transport.SCHEME}://{secured_kafka.at('OPEN')}")
    Queue(topic, channel=admin.default_channel).declare()
    admin.release()
    [one] = of("bob")[f"topic {topic}"]
    assert one.level == "failure"
    assert f"ACL DESCRIBE on topic '{topic}'" in one.what
    assert "kafka-acls --add" in one.remedy

    secured_kafka.allow("bob", AclOperation.READ, ResourceType.TOPIC, topic)
    wait_until(lambda: f"access to {topic}" in of("bob"), within=20, what="it is in force")
    [one] = of("bob")[f"access to {topic}"]
    assert one.level == "failure"
    assert one.what.endswith("may not WRITE, DELETE")
    assert "--operation WRITE --operation DELETE" in one.remedy
