"""librdkafka clients as this package makes them: logging through Python, safe over a fork.

A forked child has none of its parent's threads, so a client it inherited can neither be used nor
destroyed there: destroying it waits for threads that are not. The child keeps each one for ever.
"""

import ctypes
import os
import weakref
from typing import Any, Final

import confluent_kafka
from confluent_kafka import admin

from kafka_transport.config import client_logger

__all__ = ["AdminClient", "Consumer", "Producer"]

_clients: Final["weakref.WeakSet[Any]"] = weakref.WeakSet()


def _in_child() -> None:
    for client in list(_clients):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(client))
    _clients.clear()


os.register_at_fork(after_in_child=_in_child)


class Producer(confluent_kafka.Producer):
    """A producer of this process."""

    def __init__(self, properties: dict[str, Any]) -> None:
        super().__init__(properties, logger=client_logger)
        _clients.add(self)


class Consumer(confluent_kafka.Consumer):
    """A consumer of this process."""

    def __init__(self, properties: dict[str, Any]) -> None:
        super().__init__(properties, logger=client_logger)
        _clients.add(self)


class AdminClient(admin.AdminClient):
    """An admin client of this process."""

    def __init__(self, properties: dict[str, Any]) -> None:
        super().__init__(properties, logger=client_logger)
        _clients.add(self)
