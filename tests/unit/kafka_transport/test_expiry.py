"""When a message is too old to be delivered."""

from kafka_transport.expiry import is_expired
from kafka_transport.wire import Envelope

MADE = 1_000_000


def message(**headers: object) -> Envelope:
    return Envelope(
        b"", headers=dict(headers), properties={"expiration": "2000"}, timestamp=MADE * 1000
    )


def test_the_shorter_of_the_message_and_the_queue_counts() -> None:
    assert not is_expired(message(), None, MADE + 1)
    assert is_expired(message(), None, MADE + 2)
    assert is_expired(message(), 1000, MADE + 1)


def test_a_task_that_expires_reaches_the_worker_which_says_so() -> None:
    task = message(expires="2026-01-01T00:00:00+00:00")
    assert not is_expired(task, None, MADE + 60)
    assert is_expired(task, 1000, MADE + 60)
    assert is_expired(message(expires=None), None, MADE + 60)
