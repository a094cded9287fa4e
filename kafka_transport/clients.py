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
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import confluent_kafka
from confluent_kafka import admin

from kafka_transport.config import client_logger
from kafka_transport.errors import InvalidOption

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
def _named_properties() -> Iterator[None]:
    """Turns librdkafka's refusal of a property into an error that says where it was given."""
    try:
        yield
    except confluent_kafka.KafkaException as error:
        raise InvalidOption(
            f"{error.args[0].str()}: see kafka_common_config, kafka_producer_config and "
            "kafka_consumer_config in broker_transport_options"
        ) from error


class Producer(confluent_kafka.Producer):
    """A producer of this process.

    Raises:
        InvalidOption: librdkafka knows no such property, or not with that value.
    """

    def __init__(self, properties: dict[str, Any]) -> None:
        with _named_properties():
            super().__init__(properties, logger=client_logger)
        _clients.add(self)


class Consumer(confluent_kafka.Consumer):
    """A consumer of this process; raises like `Producer`."""

    def __init__(self, properties: dict[str, Any]) -> None:
        with _named_properties():
            super().__init__(properties, logger=client_logger)
        _clients.add(self)


class AdminClient(admin.AdminClient):
    """An admin client of this process; raises like `Producer`."""

    def __init__(self, properties: dict[str, Any]) -> None:
        with _named_properties():
            super().__init__(properties, logger=client_logger)
        _clients.add(self)
