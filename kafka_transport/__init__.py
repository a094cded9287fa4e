"""A Celery broker on Kafka with nothing missing: ``kafka://host:9092,host:9092``.

Importing this package registers the scheme with kombu::

    from celery import Celery
    import kafka_transport

    app = Celery("project", broker="kafka://localhost:9092")
"""

from typing import Final

from kombu import transport

from kafka_transport.confirmations import Confirmations, batch, collect, confirmed
from kafka_transport.errors import (
    BatchFailed,
    BrokerUnavailable,
    Failure,
    InvalidName,
    InvalidOption,
    KafkaTransportError,
    LoginRefused,
    MessageRefused,
    NotAuthorized,
    PoolNotSupported,
    PublishFailed,
    QueueNotFound,
    TopicNotMade,
    Unroutable,
)

__all__ = [
    "SCHEME",
    "TLS_SCHEME",
    "BatchFailed",
    "BrokerUnavailable",
    "Confirmations",
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
    "batch",
    "collect",
    "confirmed",
    "register",
]

#: The scheme of the broker URL.
SCHEME: Final = "kafka"

#: The same over TLS, as ``amqps`` is to ``amqp``.
TLS_SCHEME: Final = "kafkas"


def register() -> None:
    """Makes ``kafka://`` and ``kafkas://`` mean this transport, in place of the stock one of kombu."""
    for scheme, name in ((SCHEME, "Transport"), (TLS_SCHEME, "TLSTransport")):
        transport.TRANSPORT_ALIASES[scheme] = f"kafka_transport.transport:{name}"
        transport._transport_cache.pop(scheme, None)  # type: ignore[attr-defined]  # noqa: SLF001


register()
