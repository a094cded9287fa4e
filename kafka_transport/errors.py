"""The errors of this package.

kombu.exceptions.OperationalError
└── KafkaTransportError
    ├── BatchFailed            kombu's BatchPublishError too
    ├── BrokerUnavailable      a connection error: Celery tries again
    ├── LoginRefused           as RabbitMQ's AccessRefused: a worker ends with it
    ├── NotAuthorized          the same
    ├── TopicNotMade
    ├── PoolNotSupported       the same
    ├── PublishFailed          may be sent again
    └── MessageRefused
amqp.ChannelError
├── QueueNotFound
└── Unroutable
ValueError
├── InvalidName
└── InvalidOption
"""

from typing import Final, NamedTuple

from amqp.exceptions import ChannelError
from confluent_kafka import KafkaError
from kombu.exceptions import (  # type: ignore[attr-defined]  # its types are of kombu 5.3
    BatchPublishError,
    OperationalError,
)

__all__ = [
    "BatchFailed",
    "BrokerUnavailable",
    "Failure",
    "InvalidName",
    "InvalidOption",
    "KafkaTransportError",
    "LoginRefused",
    "MessageRefused",
    "NotAuthorized",
    "PoolNotSupported",
    "PublishFailed",
    "QueueNotFound",
    "TopicNotMade",
    "Unroutable",
    "no_answer",
    "not_authorized",
    "of_no_group",
    "passes",
    "publish_error",
    "too_large",
    "topic_error",
    "unavailable",
]


class KafkaTransportError(OperationalError):
    """Kafka could not do what was asked of it."""


class BrokerUnavailable(KafkaTransportError):
    """No broker answered in time. Check that Kafka runs at the address of the broker URL."""


class LoginRefused(KafkaTransportError):
    """The broker knows no such user, or not with that password, token or mechanism."""


class NotAuthorized(KafkaTransportError):
    """The user lacks an ACL; the message names operation and resource."""


class PoolNotSupported(KafkaTransportError):
    """The worker's pool stops real threads, which this transport needs. Use another one."""


class TopicNotMade(KafkaTransportError):
    """The broker refused to make a topic. Mend what it names, or make the topic beforehand."""


class PublishFailed(KafkaTransportError):
    """The broker did not acknowledge the message in time. It may be sent again."""


class MessageRefused(KafkaTransportError):
    """The broker will never take this message: it is too large."""


class Failure(NamedTuple):
    """One message of a batch that the broker does not have."""

    #: Celery's task id, or else the message's correlation id; empty if it has none.
    message_id: str
    topic: str
    error: "KafkaTransportError | Unroutable"


class BatchFailed(KafkaTransportError, BatchPublishError):  # type: ignore[misc]
    """The broker does not have all messages of a batch. `failures` names those that it lacks."""

    #: How many failures the text shows.
    SHOWN: Final = 3

    def __init__(self, failures: list[Failure], published: int) -> None:
        self.failures: Final = failures
        shown = "; ".join(f"{f.message_id}: {f.error}" for f in failures[: self.SHOWN])
        more = f"; and {len(failures) - self.SHOWN} more" if len(failures) > self.SHOWN else ""
        super().__init__(f"{len(failures)} of {published} messages failed: {shown}{more}")


class QueueNotFound(ChannelError):
    """There is no topic of that name. Declare the queue, or create the topic."""

    code = 404


class Unroutable(ChannelError):
    """No queue gets a message that was published as mandatory. Declare and bind one first."""

    code = 312


class InvalidName(ValueError):
    """A durable queue must have a name."""


class InvalidOption(ValueError):
    """An option of the transport has a value that cannot be used."""


#: Errors that sending again does not mend.
_FINAL: Final = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.RECORD_LIST_TOO_LARGE,
        KafkaError.INVALID_RECORD,
    }
)

#: What an operation needs when the broker says that it may not be done: the kind of resource.
_DENIED: Final = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "topic",
    KafkaError.GROUP_AUTHORIZATION_FAILED: "group",
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: "cluster",
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: "cluster",
}


def not_authorized(
    error: KafkaError, operation: str, *, topic: str = "", group: str = ""
) -> NotAuthorized | None:
    """Names the ACL that is missing, if `error` says that one is.

    Args:
        error: The broker's.
        operation: What the topic or the group must allow.
        topic: The topic that was asked for.
        group: The consumer group that was asked for.
    """
    kind = _DENIED.get(error.code())
    if kind is None:
        return None
    needed = {
        "topic": f"{operation} on topic {topic!r}",
        "group": f"{operation} on group {group!r}",
        # What a producer asks for is allowed to who may write to some topic (KIP-679).
        "cluster": f"{operation} on topic {topic!r} (brokers before 2.8: IDEMPOTENT_WRITE on the "
        "cluster)",
    }[kind]
    return NotAuthorized(f"this Kafka user needs the ACL {needed}: {error.str()}")


def of_no_group(error: KafkaError) -> bool:
    """Whether it may be passed over by a consumer that joins no group.

    Such a one has to name a group all the same, whose coordinator librdkafka looks for.
    """
    return error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED


_PASSING: Final = frozenset(
    {
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.NOT_COORDINATOR,
    }
)


def passes(error: KafkaError) -> bool:
    """Whether the answer may be another in a moment: what was just made or moved has no leader yet."""
    return error.code() in _PASSING


#: What the broker's or the client's own reason leaves open.
_ADVICE: Final = {
    KafkaError._MSG_TIMED_OUT: (  # noqa: SLF001  # it has no public name
        "; no broker took it within publish_timeout: check that the brokers are up and reachable"
    ),
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "; this client needs WRITE on the topic",
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: "; this client needs IDEMPOTENT_WRITE on the cluster",
    KafkaError.NOT_ENOUGH_REPLICAS: "; too few replicas are in sync: see min.insync.replicas",
}


def publish_error(error: KafkaError, topic: str) -> KafkaTransportError:
    """What a failed delivery to `topic` means for the caller, with the broker's own reason."""
    denied = not_authorized(error, "WRITE", topic=topic)
    if denied is not None:
        return denied
    kind = MessageRefused if error.code() in _FINAL else PublishFailed
    advice = _ADVICE.get(error.code(), "")
    return kind(f"Kafka did not store the message in topic {topic!r}: {error.str()}{advice}")


def too_large(
    topic: str, size: int, *, client_limit: int | None = None, topic_limit: int | None = None
) -> MessageRefused:
    """A message over a limit: the client's own, else the topic's, which may not be known."""
    message = f"Kafka did not store the message in topic {topic!r}: it has {size:,} bytes and"
    if client_limit is not None:
        return MessageRefused(
            f"{message} this client sends {client_limit:,} at most: raise max_message_bytes in "
            "broker_transport_options (and max.message.bytes of a topic that exists already)"
        )
    limit = "fewer" if topic_limit is None else f"{topic_limit:,} at most"
    return MessageRefused(f"{message} the topic takes {limit}: raise the topic's max.message.bytes")


def topic_error(
    error: KafkaError, topic: str, *, partitions: int, replication_factor: int, brokers: int
) -> KafkaTransportError:
    """Why a topic was not made, and what mends it."""
    code = error.code()
    if code in {KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED}:
        return NotAuthorized(
            f"there is no topic {topic!r}, and this Kafka user may not make it: it needs the ACL "
            f"CREATE on topic {topic!r} or on the cluster; or make the topic beforehand "
            f"({partitions} partitions): {error.str()}"
        )
    mends = {
        KafkaError.INVALID_REPLICATION_FACTOR: (
            f"replication_factor is {replication_factor} and the cluster has {brokers} brokers; set "
            "it in broker_transport_options, -1 for the broker's default"
        ),
        KafkaError.INVALID_PARTITIONS: f"num_partitions is {partitions}",
        KafkaError.INVALID_CONFIG: "see topic_config in broker_transport_options",
        KafkaError.POLICY_VIOLATION: (
            "the cluster has a policy for topics (create.topic.policy.class.name); see "
            "num_partitions, replication_factor and topic_config in broker_transport_options"
        ),
        KafkaError.TOPIC_EXCEPTION: (
            "names that differ by '.' and '_' alone cannot both be topics: name the queue otherwise"
        ),
    }
    mend = f" ({mends[code]})" if code in mends else ""
    return TopicNotMade(f"Kafka did not make topic {topic!r}: {error.str()}{mend}")


def unavailable(error: KafkaError) -> BrokerUnavailable:
    """For a request that was not answered."""
    return BrokerUnavailable(f"Kafka did not answer: {error.str()}")


def no_answer(trouble: str, error: KafkaError) -> str:
    """Why nothing answers: what librdkafka said of its own accord, or what may be."""
    if "certificate verify failed" in trouble:
        # librdkafka does not hand on which of these OpenSSL found.
        return (
            f"{trouble}: it is of an unknown authority (ca_certs in broker_use_ssl), expired, or "
            "for another host name"
        )
    # A listener that expects more than it was given closes the connection and says nothing.
    return trouble or (
        f"{error.str()} (is it up, and does it expect TLS, broker_use_ssl, or a login?)"
    )
