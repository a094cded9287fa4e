"""A Celery broker on Kafka with nothing missing: ``kafka://host:9092,host:9092``.

Importing this package registers the scheme with kombu::

    from celery import Celery
    import kafka_transport

    app = Celery("project", broker="kafka://localhost:9092")
"""

from typing import Final

from kombu import transport

from kafka_transport.errors import (
    BrokerUnavailable,
    InvalidName,
    InvalidOption,
    KafkaTransportError,
    MessageRefused,
    PublishFailed,
    QueueNotFound,
)

__all__ = [
    "SCHEME",
    "BrokerUnavailable",
    "InvalidName",
    "InvalidOption",
    "KafkaTransportError",
    "MessageRefused",
    "PublishFailed",
    "QueueNotFound",
    "register",
]

#: The scheme of the broker URL.
SCHEME: Final = "kafka"


def register() -> None:
    """Makes ``kafka://`` mean this transport, in place of the stock one of kombu."""
    transport.TRANSPORT_ALIASES[SCHEME] = "kafka_transport.transport:Transport"
    transport._transport_cache.pop(SCHEME, None)  # type: ignore[attr-defined]  # noqa: SLF001


register()
