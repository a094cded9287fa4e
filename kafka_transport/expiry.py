"""When a message is too old to be delivered. Pure."""

import time

from kafka_transport.wire import Envelope

__all__ = ["is_expired"]


def is_expired(envelope: Envelope, queue_ttl: int | None, now: float | None = None) -> bool:
    """Whether the message's `expiration` or its queue's `x-message-ttl` is over; the shorter counts.

    Both are milliseconds since the message came into its queue; AMQP writes `expiration` as text.
    What is no number does not expire.
    """
    # A Celery task's own end is the worker's to see: it stores that the task was revoked, so that
    # whoever waits for the result hears of it.
    given = None if envelope.headers.get("expires") else envelope.properties.get("expiration")
    if given is None and queue_ttl is None:
        return False
    try:
        own = None if given is None else int(given)
    except (TypeError, ValueError):
        own = None
    limits = [limit for limit in (own, queue_ttl) if limit is not None]
    milliseconds = (time.time() if now is None else now) * 1000
    return (
        bool(limits) and envelope.timestamp > 0 and milliseconds - envelope.timestamp >= min(limits)
    )
