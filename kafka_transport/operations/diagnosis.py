"""Whether a project's queues can be used, and what to do where they cannot.

Reads and changes nothing. Each thing is looked at by itself: a request that is refused hides
nothing of the others.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # it has no __all__
    AclOperation,
    ConfigResource,
    ResourceType,
)
from kombu import Connection

from kafka_transport.admin import REQUEST_SECONDS, Admin
from kafka_transport.cluster import Cluster
from kafka_transport.durable import DurableQueues
from kafka_transport.errors import (
    BrokerUnavailable,
    InvalidOption,
    KafkaTransportError,
    LoginRefused,
    NotAuthorized,
    QueueNotFound,
    not_authorized,
)
from kafka_transport.operations import requests
from kafka_transport.operations.survey import QueueLag, lag

if TYPE_CHECKING:
    from kafka_transport.transport import Transport

__all__ = ["Finding", "diagnose"]

Level = Literal["ok", "warning", "failure"]

#: Messages that have waited for longer are told.
_LONG_SECONDS: Final = 60.0

#: What workers and publishers do with a queue's topic; DELETE, to delete what is done (`keep_done`).
_ON_TOPIC: Final = ("READ", "WRITE", "DESCRIBE", "DELETE")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    #: What it is of, such as `topic celery`.
    subject: str
    #: A failure keeps messages from their workers; a warning may, some day.
    level: Level
    what: str
    #: What to do; empty where all is well.
    remedy: str = ""


def diagnose(connection: Connection, queues: Sequence[str]) -> list[Finding]:
    """What there is to say of the cluster and of these queues.

    Args:
        connection: To the broker; it is opened here.
        queues: Those that should be there.
    """
    try:
        connection.connect()
    except LoginRefused as error:
        remedy = "mend the user, password and mechanism of the broker URL or of kafka_common_config"
        return [Finding("kafka", "failure", str(error), remedy)]
    except InvalidOption as error:
        return [Finding("kafka", "failure", str(error), "mend broker_transport_options")]
    except (KafkaTransportError, ValueError) as error:
        remedy = "start Kafka, or mend the broker URL (KAFKA_BOOTSTRAP_SERVERS), TLS and firewalls"
        return [Finding("kafka", "failure", str(error), remedy)]
    transport: Transport = connection.connection
    return _Diagnosis(transport.cluster, transport.durable).findings(queues)


class _Diagnosis:
    def __init__(self, cluster: Cluster, durable: DurableQueues) -> None:
        self._cluster: Final = cluster
        self._durable: Final = durable
        self._admin: Final[Admin] = cluster.topics.admin

    def findings(self, queues: Sequence[str]) -> list[Finding]:
        """Of the cluster, then of each queue."""
        real = self._admin.has_controller()
        found = self._looked("kafka", lambda: self._brokers(real=real))
        if real:
            found += self._looked("kafka version", self._version)
        for queue in queues:
            found += self._looked(f"topic of {queue}", partial(self._queue, queue, real=real))
        return found

    def _queue(self, queue: str, *, real: bool) -> list[Finding]:
        topic = self._durable.topic_of(queue)
        if topic not in self._admin.ask(self._admin.list).topics:
            return [self._absent(topic)]
        found = self._looked(f"topic {topic}", partial(self._topic, topic, real=real))
        if real:
            found += self._looked(f"access to {topic}", partial(self._access, topic))
            found += self._looked(f"group of {queue}", partial(self._group, queue))
        return found

    def _absent(self, topic: str) -> Finding:
        """Whether a topic that is not listed may not be seen, or is not there."""
        futures = self._admin.client.describe_topics(
            TopicCollection([topic]), request_timeout=REQUEST_SECONDS
        )
        subject = f"topic {topic}"
        try:
            futures[topic].result()
        except KafkaException as error:
            denied = not_authorized(error.args[0], "DESCRIBE", topic=topic)
            if denied is not None:
                remedy = (
                    "kafka-acls --add --allow-principal User:... "
                    f"{_options(_ON_TOPIC)} --topic {topic}"
                )
                return Finding(subject, "failure", str(denied), remedy)
        return Finding(subject, "warning", "is not there", "start a worker, which makes it")

    @staticmethod
    def _looked(subject: str, look: Callable[[], list[Finding]]) -> list[Finding]:
        try:
            return look()
        except NotAuthorized as error:
            return [Finding(subject, "warning", str(error), "grant it, so that this can be seen")]
        except QueueNotFound as error:
            return [Finding(subject, "warning", str(error), "start a worker, which makes it")]
        except BrokerUnavailable as error:
            return [Finding(subject, "failure", str(error), "see that all brokers are up")]

    def _brokers(self, *, real: bool) -> list[Finding]:
        brokers = self._admin.ask(self._admin.list).brokers.values()
        names = ", ".join(sorted(f"{each.host}:{each.port}" for each in brokers))
        if not real:
            return [
                Finding("kafka", "warning", f"{names} is librdkafka's mock cluster, in memory",
                        "use it to try things; for anything else Apache Kafka")
            ]  # fmt: skip
        return [Finding("kafka", "ok", f"{len(brokers)} brokers answer: {names}")]

    def _version(self) -> list[Finding]:
        broker = next(iter(self._admin.ask(self._admin.list).brokers))
        config = self._config(ResourceType.BROKER, str(broker))
        # Brokers tell no version; up to 3.9 they have this property, since 4.0 no more.
        old = config.get("inter.broker.protocol.version")
        return [Finding("kafka version", "ok", f"{old} or newer" if old else "4.0 or newer")]

    def _config(self, kind: Any, name: str) -> dict[str, str]:
        resource = ConfigResource(kind, name)
        future = self._admin.client.describe_configs([resource], request_timeout=REQUEST_SECONDS)
        entries = self._admin.ask(future[resource].result, operation="DESCRIBE_CONFIGS", topic=name)
        return {key: entry.value for key, entry in entries.items()}

    def _topic(self, topic: str, *, real: bool) -> list[Finding]:
        partitions, replicas = requests.layout(self._admin)[topic]
        subject = f"topic {topic}"
        shape = f"{partitions} partitions, {replicas} replicas"
        found = []
        if replicas == 1:
            found.append(
                Finding(subject, "warning", f"{shape}: a broker that is lost takes messages along",
                        "use 3 replicas (replication_factor for new topics,"
                        " kafka-reassign-partitions for this one)")
            )  # fmt: skip
        if not real:
            return found or [Finding(subject, "ok", shape)]
        config = self._config(ResourceType.TOPIC, topic)
        kept = int(config.get("retention.ms", -1))
        if kept >= 0:
            found.append(
                Finding(subject, "warning", f"drops what has waited for {kept / 3_600_000:.4g} h",
                        f"kafka-configs --alter --topic {topic} --add-config retention.ms=-1")
            )  # fmt: skip
        if "compact" in config.get("cleanup.policy", ""):
            found.append(
                Finding(subject, "failure", "is compacted: of messages with one key all but the last"
                        " are dropped",
                        f"kafka-configs --alter --topic {topic} --add-config cleanup.policy=delete")
            )  # fmt: skip
        in_sync = int(config.get("min.insync.replicas", 1))
        if in_sync > replicas or in_sync == replicas > 1:
            found.append(
                Finding(subject, "failure" if in_sync > replicas else "warning",
                        f"min.insync.replicas is {in_sync} of {replicas} replicas: nothing can be"
                        f" published {'at all' if in_sync > replicas else 'while one is away'}",
                        "lower min.insync.replicas, or add replicas")
            )  # fmt: skip
        return found or [Finding(subject, "ok", f"{shape}, keeps messages for ever")]

    def _access(self, topic: str) -> list[Finding]:
        futures = self._admin.client.describe_topics(
            TopicCollection([topic]), include_authorized_operations=True,
            request_timeout=REQUEST_SECONDS,
        )  # fmt: skip
        allowed = self._admin.ask(futures[topic].result, topic=topic).authorized_operations
        subject = f"access to {topic}"
        if allowed is None:
            return [Finding(subject, "ok", "the broker does not tell which ACLs there are")]
        lacking = [name for name in _ON_TOPIC if AclOperation[name] not in allowed]
        if not lacking:
            return [Finding(subject, "ok", f"may {', '.join(_ON_TOPIC)}")]
        level: Level = "warning" if lacking == ["DELETE"] else "failure"
        return [
            Finding(subject, level, f"this Kafka user may not {', '.join(lacking)}",
                    f"kafka-acls --add --allow-principal User:... {_options(lacking)} --topic {topic}")
        ]  # fmt: skip

    def _group(self, queue: str) -> list[Finding]:
        [behind] = lag(self._cluster, self._durable, [queue])
        subject = f"group {self._durable.group_of(queue)}"
        members, partitions = len(behind.consumers), self._partitions(queue)
        found = []
        if not members:
            found.append(
                Finding(subject, "failure", f"nobody consumes {queue}; {behind.waiting} wait",
                        "start a worker, and see its log for why it does not join")
            )  # fmt: skip
        elif members > partitions:
            found.append(
                Finding(subject, "warning", f"{members} workers share {partitions} partitions: some"
                        " have none",
                        f"kafka-topics --alter --topic {self._durable.topic_of(queue)}"
                        f" --partitions {members}")
            )  # fmt: skip
        found += self._backlog(queue, subject, behind) if members else []
        if behind.dead:
            found.append(
                Finding(subject, "warning", f"{behind.dead} dead letters of {queue}",
                        f"celery -A PROJECT kafka dlq list {queue}")
            )  # fmt: skip
        state = f"{members} workers; {behind.waiting} wait, {behind.running} run"
        return found or [Finding(subject, "ok", state)]

    @staticmethod
    def _backlog(queue: str, subject: str, behind: QueueLag) -> list[Finding]:
        oldest = behind.oldest_seconds
        if not behind.waiting or oldest is None or oldest < _LONG_SECONDS:
            return []
        what = f"{behind.waiting} wait, the oldest unfinished one for {oldest:.0f} s"
        return [
            Finding(subject, "warning", what, f"celery -A PROJECT kafka lag {queue}; add workers")
        ]

    def _partitions(self, queue: str) -> int:
        return requests.layout(self._admin)[self._durable.topic_of(queue)][0]


def _options(operations: Sequence[str]) -> str:
    return " ".join(f"--operation {name}" for name in operations)
