"""What a Celery project can set, and the librdkafka properties made of it."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from kafka_transport.errors import InvalidOption

__all__ = [
    "CONSUMER_PROPERTIES",
    "DEFAULT_PORT",
    "Options",
    "bootstrap_servers",
    "client_properties",
    "credentials",
    "for_consumer",
    "for_producer",
    "hide_password",
]

DEFAULT_PORT: Final = 9092

#: librdkafka's own log lines come out under this name.
client_logger: Final = logging.getLogger("kafka_transport.librdkafka")


#: Of every consumer: offsets are stored by this package alone, and fetching resumes at once.
CONSUMER_PROPERTIES: Final[Mapping[str, Any]] = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "allow.auto.create.topics": False,
    "fetch.queue.backoff.ms": 10,
    "fetch.error.backoff.ms": 50,
}


@dataclass(frozen=True, kw_only=True)
class Options:
    """Celery's ``broker_transport_options`` for ``kafka://``."""

    #: Who shares the durable queues: each is read by a consumer group `<group_id>.<topic>`.
    group_id: str = "celery"
    #: "classic", or "consumer" for KIP-848, whose timeouts are the broker's.
    group_protocol: str = "classic"
    #: Name of a static member (KIP-345), e.g. "%h" for the host's name: a worker that restarts within
    #: the session timeout keeps its partitions. It must differ between workers.
    group_instance_id: str = ""
    #: Partitions of a topic made by this transport: the most workers that can share one queue.
    num_partitions: int = 16
    #: Replicas of a topic made by this transport; -1 takes the broker's default (KIP-464).
    replication_factor: int = -1
    #: Configuration of topics made for durable queues, e.g. ``{"retention.ms": "1209600000"}``.
    topic_config: Mapping[str, str] = field(default_factory=dict)
    #: Put before the name of every topic, so that several projects share a cluster.
    topic_prefix: str = ""
    #: Where a new consumer group starts: "earliest" or "latest".
    auto_offset_reset: str = "earliest"
    #: Wait for the broker's acknowledgement of each message to a durable queue.
    confirm_publish: bool = True
    #: Seconds until a message that no broker acknowledged is given up.
    publish_timeout: float = 30.0
    #: Messages of one lane of a queue that wait in a worker; beyond it partitions are paused.
    max_buffered: int = 1000
    #: Offsets that one partition may run ahead of its oldest unacknowledged message.
    max_ahead: int = 20_000
    #: Deliveries after which a message that was never acked goes to `<queue>.dlq`; 0 is never.
    max_deliveries: int = 10
    #: Keep rejected messages in `<queue>.dlq`; otherwise they are dropped.
    dead_letters: bool = True
    #: Keep messages with an `eta` in Kafka until they are due, not in the worker's memory.
    durable_delays: bool = True
    #: Messages of one key run one at a time, in order; a queue's argument `x-key-order` overrides it.
    key_order: bool = False
    #: Seconds that a partition asked back by the group waits for its running tasks to end.
    revoke_timeout: float = 10.0
    #: librdkafka properties of every client, of producers, and of consumers.
    kafka_common_config: Mapping[str, Any] = field(default_factory=dict)
    kafka_producer_config: Mapping[str, Any] = field(default_factory=dict)
    kafka_consumer_config: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, transport_options: Mapping[str, Any]) -> "Options":
        """Takes what is ours out of kombu's transport options; the rest is kombu's own.

        Raises:
            InvalidOption: A value is out of its range.
        """
        ours = {f.name for f in fields(cls)}
        options = cls(**{k: v for k, v in transport_options.items() if k in ours})
        if options.auto_offset_reset not in ("earliest", "latest"):
            raise InvalidOption(
                f"auto_offset_reset is {options.auto_offset_reset!r}: use 'earliest' or 'latest'"
            )
        if options.group_protocol not in ("classic", "consumer"):
            raise InvalidOption(
                f"group_protocol is {options.group_protocol!r}: use 'classic' or 'consumer'"
            )
        for name in ("num_partitions", "publish_timeout", "max_buffered", "max_ahead"):
            if getattr(options, name) <= 0:
                raise InvalidOption(f"{name} is {getattr(options, name)}: it must be above 0")
        if options.max_ahead > MAX_AHEAD_LIMIT:
            raise InvalidOption(
                f"max_ahead is {options.max_ahead}: commit metadata holds {MAX_AHEAD_LIMIT} at most"
            )
        return options


#: What fits as a bitmap into the 4,096 bytes of a broker's ``offset.metadata.max.bytes``.
MAX_AHEAD_LIMIT: Final = 20_000


#: Beginnings of properties that only one kind of client knows; the other would log a warning.
_CONSUMER_ONLY: Final = (
    "auto.offset.reset", "check.crcs", "enable.auto", "enable.partition.eof", "fetch.", "group.",
    "heartbeat.", "isolation.level", "max.partition.fetch", "max.poll", "partition.assignment",
    "queued.", "session.timeout",
)  # fmt: skip
_PRODUCER_ONLY: Final = (
    "acks", "batch.", "compression", "delivery.", "enable.gapless", "enable.idempotence",
    "linger.ms", "message.send", "message.timeout", "partitioner", "queue.buffering", "request.required",
    "request.timeout", "retries", "retry.backoff", "sticky.", "transaction",
)  # fmt: skip


def for_producer(properties: Mapping[str, Any]) -> dict[str, Any]:
    """The common properties that a producer or an admin client knows."""
    return {k: v for k, v in properties.items() if not k.startswith(_CONSUMER_ONLY)}


def for_consumer(properties: Mapping[str, Any]) -> dict[str, Any]:
    """The common properties that a consumer knows."""
    return {k: v for k, v in properties.items() if not k.startswith(_PRODUCER_ONLY)}


def bootstrap_servers(hosts: list[str], default_port: int | None = None) -> str:
    """One ``bootstrap.servers`` of kombu's host names and URLs, in order, each once.

    Takes ``kafka://a:9092,b:9092/``, ``kafka://user:secret@a`` and plain ``a`` alike.
    """
    found: dict[str, None] = {}
    for host in hosts:
        netloc = urlsplit(host).netloc if "://" in host else host.partition("/")[0]
        for server in netloc.rpartition("@")[2].split(","):
            name = server.strip()
            if name:
                bracket = name.rfind("]")
                has_port = ":" in name[bracket + 1 :]
                found[name if has_port else f"{name}:{default_port or DEFAULT_PORT}"] = None
    return ",".join(found) or f"localhost:{default_port or DEFAULT_PORT}"


def credentials(url: str) -> tuple[str, str] | None:
    """User and password of a broker URL, decoded."""
    userinfo, at, _ = urlsplit(url).netloc.rpartition("@") if "://" in url else ("", "", "")
    if not at:
        return None
    user, _, password = userinfo.partition(":")
    return unquote(user), unquote(password)


def hide_password(url: str, mask: str = "**") -> str:
    """The URL as it may be logged."""
    parts = urlsplit(url)
    userinfo, at, servers = parts.netloc.rpartition("@")
    if not at:
        return url
    user = userinfo.partition(":")[0]
    return parts._replace(netloc=f"{user}:{mask}@{servers}").geturl()


def client_properties(
    *,
    servers: str,
    login: tuple[str, str] | None,
    ssl: object,
    options: Options,
) -> dict[str, Any]:
    """Properties for librdkafka that every client of one connection shares."""
    properties: dict[str, Any] = {
        "bootstrap.servers": servers,
        "client.id": "kafka_transport",
        # A broker that comes back is noticed within a second, not ten.
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 1000,
        "log.connection.close": False,
    }
    if login:
        user, password = login
        properties |= {"sasl.mechanism": "PLAIN", "sasl.username": user, "sasl.password": password}
    if login or ssl:
        protocol = ("SASL_" if login else "") + ("SSL" if ssl else "PLAINTEXT")
        properties["security.protocol"] = protocol
    if isinstance(ssl, Mapping):
        properties |= {
            ours: ssl[theirs]
            for theirs, ours in (
                ("ca_certs", "ssl.ca.location"),
                ("certfile", "ssl.certificate.location"),
                ("keyfile", "ssl.key.location"),
            )
            if theirs in ssl
        }
    return properties | dict(options.kafka_common_config)
