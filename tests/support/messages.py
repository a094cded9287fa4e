"""A kombu consumer that keeps what it gets."""

import time
from collections.abc import Callable
from typing import Any

from kombu import Connection, Consumer, Queue
from kombu.message import Message


class Collector:
    """Consumes `queues` on a connection; messages stay unacked unless `no_ack`."""

    def __init__(
        self, connection: Connection, *queues: Queue, no_ack: bool = False, prefetch: int = 0
    ) -> None:
        self.connection = connection
        self.messages: list[Message] = []
        self.consumer: Consumer = Consumer(
            connection.channel(), list(queues), on_message=self.messages.append, no_ack=no_ack
        )
        if prefetch:
            self.consumer.qos(prefetch_count=prefetch)
        self.consumer.consume()

    @property
    def bodies(self) -> list[Any]:
        return [message.payload for message in self.messages]

    def drain(self, seconds: float) -> list[Any]:
        """Everything that comes within `seconds`, all of which are waited."""
        self.drain_until(lambda: False, seconds)
        return self.bodies

    def drain_until(self, enough: Callable[[], bool], within: float) -> bool:
        deadline = time.monotonic() + within
        while not enough():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            try:
                self.connection.drain_events(timeout=min(left, 0.2))
            except TimeoutError:
                continue
        return True

    def receive(self, count: int, within: float = 20) -> list[Any]:
        got = self.drain_until(lambda: len(self.messages) >= count, within)
        assert got, f"{len(self.messages)} of {count} messages within {within:g} s"
        return self.bodies
