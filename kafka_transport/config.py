"""What a Celery project can set, and the librdkafka properties made of it."""

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from typing import Any, Final

from kafka_transport.errors import InvalidOption

__all__ = [
    "CONSUMER_PROPERTIES",
    "Options",
    "client_properties",
    "for_consumer",
    "for_producer",
    "for_tail",
]

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
    #: Configuration of topics made for durable queues, e.g. ``{"min.insync.replicas": "2"}``.
    #: They are made with ``retention.ms`` -1: a broker's default of 7 days drops tasks that wait longer.
    topic_config: Mapping[str, str] = field(default_factory=dict)
    #: Put before the name of every topic, so that several projects share a cluster.
    topic_prefix: str = ""
    #: Where a new consumer group starts: "earliest" or "latest". One whose place in the log was
    #: deleted goes on with the oldest message that there is.
    auto_offset_reset: str = "earliest"
    #: Wait for the broker's acknowledgement of each message to a durable queue.
    confirm_publish: bool = True
    #: Seconds until a message that no broker acknowledged is given up.
    publish_timeout: float = 30.0
    #: Bytes that one message may have. Topics made by this transport take as much.
    max_message_bytes: int = 1_000_000
    #: Bytes of messages that wait to be sent; beyond it publishing waits, then fails.
    max_unsent_bytes: int = 64 * 1024 * 1024
    #: What batches of messages are compressed with: "none", "gzip", "snappy", "lz4" or "zstd".
    compression: str = "none"
    #: The topic that keeps what durable queues are bound to; "" keeps it in each process alone.
    bindings_topic: str = "kombu.bindings"
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
    #: Seconds for which messages that are done stay in a topic that keeps messages for ever; then
    #: workers delete them, now and then. None keeps them.
    keep_done: float | None = 604_800.0
    #: Seconds between two statistics of each Kafka client (`client_statistics`); 0 is never.
    statistics_seconds: float = 0.0
    #: OAUTHBEARER: a function, or its dotted name, that gives a token and its end in seconds since
    #: the epoch; librdkafka's ``oauth_cb``.
    oauth_callback: str | Callable[[str], tuple[Any, ...]] | None = None
    #: librdkafka properties of every client, of producers, and of consumers.
    kafka_common_config: Mapping[str, Any] = field(default_factory=dict)
    kafka_producer_config: Mapping[str, Any] = field(default_factory=dict)
    kafka_consumer_config: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, transport_options: Mapping[str, Any]) -> "Options":
        """Takes what is ours out of kombu's transport options; the rest is kombu's own.

        Raises:
            InvalidOption: A value is out of its range, a name is nearly one of ours, or a
                property of librdkafka would break what this transport promises.
        """
        ours = {f.name for f in fields(cls)}
        for name in transport_options.keys() - ours:
            near = get_close_matches(name, ours, n=1, cutoff=0.85)
            if near:
                raise InvalidOption(
                    f"broker_transport_options has {name!r}: do you mean {near[0]!r}?"
                )
        options = cls(**{k: v for k, v in transport_options.items() if k in ours})
        for name, allowed in (
            ("auto_offset_reset", ("earliest", "latest")),
            ("group_protocol", ("classic", "consumer")),
            ("compression", ("none", "gzip", "snappy", "lz4", "zstd")),
        ):
            if getattr(options, name) not in allowed:
                raise InvalidOption(f"{name} is {getattr(options, name)!r}: use one of {allowed}")
        for name in (
            "num_partitions", "publish_timeout", "max_buffered", "max_ahead",
            "max_message_bytes", "max_unsent_bytes",
        ):  # fmt: skip
            if getattr(options, name) <= 0:
                raise InvalidOption(f"{name} is {getattr(options, name)}: it must be above 0")
        if options.max_ahead > MAX_AHEAD_LIMIT:
            raise InvalidOption(
                f"max_ahead is {options.max_ahead}: commit metadata holds {MAX_AHEAD_LIMIT} at most"
            )
        if not _LEGAL_PREFIX.fullmatch(options.topic_prefix):
            raise InvalidOption(
                f"topic_prefix is {options.topic_prefix!r}: use 100 of A-Z a-z 0-9 . _ - at most"
            )
        for name in ("kafka_common_config", "kafka_producer_config", "kafka_consumer_config"):
            _refuse_broken_promises(name, getattr(options, name))
        return options


#: Room is left for the longest suffix of a topic.
_LEGAL_PREFIX: Final = re.compile(r"[A-Za-z0-9._-]{0,100}")

#: Properties of librdkafka that are not the user's to set: the values that do no harm, and why.
_KEPT: Final[Mapping[str, tuple[tuple[str, ...], str]]] = {
    "enable.auto.commit": (("false",), "only what was acked is committed"),
    "enable.auto.offset.store": (("false",), "only what was acked is committed"),
    "acks": (("all", "-1"), "a message is stored when all replicas in sync have it"),
    "request.required.acks": (("all", "-1"), "a message is stored when all replicas have it"),
    "enable.idempotence": (("true",), "a message that is sent again is stored once"),
    "transactional.id": ((), "messages are not sent in transactions"),
    "partition.assignment.strategy": (
        ("cooperative-sticky",), "partitions move one by one while tasks run",
    ),
    "group.id": ((), "set the transport option group_id"),
    "auto.offset.reset": ((), "set the transport option auto_offset_reset"),
    "message.timeout.ms": ((), "set the transport option publish_timeout"),
    "delivery.timeout.ms": ((), "set the transport option publish_timeout"),
    "bootstrap.servers": ((), "set broker_url"),
    "metadata.broker.list": ((), "set broker_url"),
    "oauth_cb": ((), "set the transport option oauth_callback"),
    "on_commit": ((), "it is this transport's own"),
    "stats_cb": ((), "set the transport option statistics_seconds"),
    "statistics.interval.ms": ((), "set the transport option statistics_seconds"),
    "error_cb": ((), "errors come out as exceptions and in Python's logging"),
    "log_cb": ((), "log lines come out under kafka_transport.librdkafka"),
    "logger": ((), "log lines come out under kafka_transport.librdkafka"),
}  # fmt: skip


def _refuse_broken_promises(option: str, properties: Mapping[str, Any]) -> None:
    for name, value in properties.items():
        harmless, why = _KEPT.get(name, (None, ""))
        if harmless is not None and str(value).lower() not in harmless:
            raise InvalidOption(f"{option} must not set {name!r}: {why}")


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

#: Beginnings of properties that mean nothing to a consumer without a group.
_GROUP_ONLY: Final = (
    "group.", "heartbeat.", "max.poll", "partition.assignment", "session.timeout", "enable.auto",
)  # fmt: skip


def for_producer(properties: Mapping[str, Any]) -> dict[str, Any]:
    """The common properties that a producer or an admin client knows."""
    return {k: v for k, v in properties.items() if not k.startswith(_CONSUMER_ONLY)}


def for_consumer(properties: Mapping[str, Any]) -> dict[str, Any]:
    """The common properties that a consumer knows."""
    return {k: v for k, v in properties.items() if not k.startswith(_PRODUCER_ONLY)}


def for_tail(properties: Mapping[str, Any], options: Options) -> dict[str, Any]:
    """What a consumer without a group is made with."""
    chosen = {
        k: v for k, v in options.kafka_consumer_config.items() if not k.startswith(_GROUP_ONLY)
    }
    return for_consumer(properties) | chosen


def client_properties(
    *, servers: str, security: Mapping[str, Any], options: Options
) -> dict[str, Any]:
    """Properties for librdkafka that every client of one connection shares."""
    return {
        "bootstrap.servers": servers,
        "client.id": "kafka_transport",
        # A broker that comes back is noticed within a second, not ten.
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 1000,
        "log.connection.close": False,
        **security,
        **options.kafka_common_config,
    }
