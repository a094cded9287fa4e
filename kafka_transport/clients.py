"""librdkafka clients as this package makes them: logging through Python, safe over a fork.

A forked child has none of its parent's threads, so a client it inherited can neither be used nor
destroyed there: destroying it waits for threads that are not. The child keeps each one for ever.
"""

import ctypes
import logging
import os
import re
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import confluent_kafka
from confluent_kafka import KafkaError, KafkaException, Message, admin

from kafka_transport.config import client_logger
from kafka_transport.errors import InvalidOption
from kafka_transport.native import Lock
from kafka_transport.wire import RecordHeaders

#: Seconds for which a line that librdkafka repeats (a broker that is down) is not written again.
REPEAT_SECONDS: Final = 30.0

__all__ = ["AdminClient", "Consumer", "Producer"]

_clients: Final["weakref.WeakSet[Any]"] = weakref.WeakSet()


def _in_child() -> None:
    for client in list(_clients):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(client))
    _clients.clear()


os.register_at_fork(after_in_child=_in_child)


#: What differs between two lines that say the same: client, thread, and how long it took.
_CHANGING: Final = re.compile(r"^.*(?=Connect to )|\[.*?\]|\(after .*?\)")


class _Once(logging.Filter):
    """Every client tries a dead broker several times a second and says so each time."""

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        text = _CHANGING.sub("", record.getMessage())
        now = time.monotonic()
        if now - self._last.get(text, -REPEAT_SECONDS) < REPEAT_SECONDS:
            return False
        self._last = {t: at for t, at in self._last.items() if now - at < REPEAT_SECONDS}
        self._last[text] = now
        return True


client_logger.addFilter(_Once())


@contextmanager
def _named_properties(options: str) -> Iterator[None]:
    """Turns librdkafka's refusal of a property into an error that says where it was given."""
    try:
        yield
    except KafkaException as error:
        reason = error.args[0].str()
        setting = (
            "broker_use_ssl" if _OF_TLS.search(reason) else f"{options} in broker_transport_options"
        )
        raise InvalidOption(f"{reason}: see {setting}") from error


#: What librdkafka says of certificates and keys begins so.
_OF_TLS: Final = re.compile(r"ssl\.(ca|certificate|key|cipher)\S* failed")


class _Producer(confluent_kafka.Producer):
    """One that can be referred to weakly."""


class Producer:
    """A producer of this process, made anew after an error that librdkafka calls fatal.

    An idempotent producer ends for good with such an error, a missing ACL for one.

    Raises:
        InvalidOption: librdkafka knows no such property, or not with that value.
    """

    def __init__(self, properties: dict[str, Any]) -> None:
        self._properties: Final = properties
        self._lock: Final = Lock()
        self._fatal: KafkaError | None = None
        self._made = self._make()

    def _make(self) -> confluent_kafka.Producer:
        with _named_properties("kafka_common_config and kafka_producer_config"):
            made = _Producer(self._properties, logger=client_logger)
        _clients.add(made)
        return made

    def produce(  # noqa: PLR0917  # a call for every message
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None,
        partition: int,
        on_delivery: Callable[[KafkaError | None, Message], None],
        headers: RecordHeaders,
    ) -> None:
        """As confluent-kafka's; after a fatal error it raises that one, once."""
        try:
            self._made.produce(
                topic, value, key, partition, on_delivery=on_delivery, headers=headers
            )
        except KafkaException as error:
            if error.args[0].code() != KafkaError._FATAL:  # noqa: SLF001
                raise
            raise KafkaException(self._renew() or error.args[0]) from error

    def _renew(self) -> KafkaError | None:
        with self._lock:
            # Takes over the error itself and the reports of what was queued.
            self.poll(0)
            fatal, self._fatal = self._fatal, None
            if fatal is not None:
                self._made = self._make()
            return fatal

    def poll(self, timeout: float) -> int:
        """As confluent-kafka's, but for a fatal error, which `produce` raises."""
        try:
            return self._made.poll(timeout)
        except KafkaException as error:
            if not error.args[0].fatal():
                raise
            self._fatal = error.args[0]
            return 0

    def flush(self, timeout: float) -> int:
        """As confluent-kafka's."""
        try:
            return self._made.flush(timeout)
        except KafkaException as error:
            if not error.args[0].fatal():
                raise
            self._fatal = error.args[0]
            return len(self._made)

    def __len__(self) -> int:
        return len(self._made)


class Consumer(confluent_kafka.Consumer):
    """A consumer of this process; raises like `Producer`."""

    def __init__(self, properties: dict[str, Any]) -> None:
        with _named_properties("kafka_common_config and kafka_consumer_config"):
            super().__init__(properties, logger=client_logger)
        _clients.add(self)


class AdminClient(admin.AdminClient):
    """An admin client of this process; raises like `Producer`."""

    def __init__(self, properties: dict[str, Any]) -> None:
        with _named_properties("kafka_common_config"):
            super().__init__(properties, logger=client_logger)
        _clients.add(self)
