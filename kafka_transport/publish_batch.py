"""kombu's own `Producer.batch()`: messages are kept here, sent together, and confirmed together."""

from typing import TYPE_CHECKING, Any, Final

from kafka_transport.confirmations import collect
from kafka_transport.errors import (
    BatchFailed,
    BrokerUnavailable,
    Failure,
    KafkaTransportError,
    PublishFailed,
    Unroutable,
)
from kafka_transport.wire import PreparedMessage, message_id

if TYPE_CHECKING:
    from kafka_transport.channel import Channel

__all__ = ["PublishBatch"]


class PublishBatch:
    """What kombu asks a channel for (`create_publish_batch`); one thread's own.

    Nothing is sent before a flush: kombu promises that a block which raises discards the rest.
    """

    def __init__(self, channel: "Channel", max_size: int) -> None:
        #: kombu compares it with the producer's.
        self.channel: Final = channel
        self._max_size: Final = max_size
        self._kept: list[tuple[PreparedMessage, dict[str, Any]]] = []

    def publish(self, message: PreparedMessage, **options: Any) -> None:
        """Keeps a message, with what `Channel.basic_publish` takes; flushes `max_size` of them."""
        self._kept.append((message, options))
        if len(self._kept) >= self._max_size:
            self.flush()

    def flush(self) -> None:
        """Sends what is kept and returns once the broker has all of it, whatever `confirm_publish`.

        Raises:
            BatchFailed: It does not have all of it; `failures` says what and why. Nothing of it is
                kept: what is to be sent again has to be published again.
        """
        kept, self._kept = self._kept, []
        failures: list[Failure] = []
        away: KafkaTransportError | None = None
        with collect() as confirmations:
            for message, options in kept:
                error = away or self._send(message, options)
                if error is not None:
                    failures.append(Failure(message_id(message), "", error))
                if isinstance(error, BrokerUnavailable | PublishFailed):
                    # The others would each wait as long, one after the other.
                    away = error
        try:
            confirmations.wait()
        except BatchFailed as failed:
            failures += failed.failures
        if failures:
            raise BatchFailed(failures, len(kept)) from failures[0].error

    def discard(self) -> None:
        """Forgets what was not flushed."""
        self._kept.clear()

    def close(self) -> None:
        """Ends the batch; nothing is held."""
        self.discard()

    def _send(
        self, message: PreparedMessage, options: dict[str, Any]
    ) -> KafkaTransportError | Unroutable | None:
        try:
            self.channel.basic_publish(message, **options)
        except (KafkaTransportError, Unroutable) as error:
            return error
        return None
