"""The errors of this package.

kombu.exceptions.OperationalError
└── KafkaTransportError
    ├── BrokerUnavailable
    ├── PublishFailed
    └── MessageRefused
amqp.ChannelError
└── QueueNotFound
ValueError
├── InvalidName
└── InvalidOption
"""

from typing import Final

from amqp.exceptions import ChannelError
from confluent_kafka import KafkaError
from kombu.exceptions import OperationalError

__all__ = [
    "BrokerUnavailable",
    "InvalidName",
    "InvalidOption",
    "KafkaTransportError",
    "MessageRefused",
    "PublishFailed",
    "QueueNotFound",
    "publish_error",
]


class KafkaTransportError(OperationalError):
    """Kafka could not do what was asked of it."""


class BrokerUnavailable(KafkaTransportError):
    """No broker answered in time. Check that Kafka runs at the address of the broker URL."""


class PublishFailed(KafkaTransportError):
    """The broker did not acknowledge the message in time. It may be sent again."""


class MessageRefused(KafkaTransportError):
    """The broker will never take this message: it is too large, or the client may not write."""


class QueueNotFound(ChannelError):
    """There is no topic of that name. Declare the queue, or create the topic."""

    code = 404


class InvalidName(ValueError):
    """A durable queue must be named as a Kafka topic can be: [A-Za-z0-9._-], 249 at most."""


class InvalidOption(ValueError):
    """An option of the transport has a value that cannot be used."""


#: Errors that sending again does not mend.
_FINAL: Final = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.RECORD_LIST_TOO_LARGE,
        KafkaError.INVALID_RECORD,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    }
)


def publish_error(error: KafkaError, topic: str) -> KafkaTransportError:
    """What a failed delivery to `topic` means for the caller, with the broker's own reason."""
    kind = MessageRefused if error.code() in _FINAL else PublishFailed
    return kind(f"Kafka did not store the message in topic {topic!r}: {error.str()}")
