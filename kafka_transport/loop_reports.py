"""The broker's words on what an event loop publishes."""

import asyncio
import logging
import threading
from collections import deque
from functools import partial
from typing import Final

from confluent_kafka import KafkaError
from confluent_kafka import Message as Record

from kafka_transport.confirmations import GRACE_SECONDS, Undelivered
from kafka_transport.errors import PublishFailed
from kafka_transport.native import Thread
from kafka_transport.publisher import Outgoing, Publisher

__all__ = ["LoopReports"]

logger = logging.getLogger(__name__)

#: Seconds between two looks at the reports while many are awaited.
TICK_SECONDS: Final = 0.001

#: Up to so many are left to the publisher's thread, which hears of each at once. With more of them
#: that thread takes the interpreter's lock from a busy loop for each: a quarter of what a message
#: cost.
FEW: Final = 2


class LoopReports:
    """Sends records for one event loop, in whose thread every method is called.

    `timeout` seconds after it was sent a record is given up; None is the publish timeout.
    """

    def __init__(
        self, publisher: Publisher, loop: asyncio.AbstractEventLoop, timeout: float | None
    ) -> None:
        self.loop: Final = loop
        self._timeout: Final = publisher.timeout + GRACE_SECONDS if timeout is None else timeout
        self._late: Final = f"Kafka did not acknowledge within {self._timeout:g} s"
        self._publisher: Final = publisher
        self._thread: Final = threading.get_ident()
        #: In the order in which their time is up; those that ended among them.
        self._awaited: Final[deque[tuple[float, asyncio.Future[None]]]] = deque()
        self._outstanding = 0
        self._ticks = False
        #: Reported in other threads, and not yet ended on the loop.
        self._arrived: Final[deque[asyncio.Future[None]]] = deque()
        self._woken = False

    def send(self, record: Outgoing) -> "asyncio.Future[None]":
        """A future that ends when the broker has the record, or with a `KafkaTransportError`.

        Who cancels it takes nothing back.

        Raises:
            KafkaTransportError: The record cannot even be queued.
        """
        ended: asyncio.Future[None] = self.loop.create_future()
        self._publisher.post(record, partial(self._report, ended))
        self._outstanding += 1
        self._awaited.append((self.loop.time() + self._timeout, ended))
        if self._outstanding <= FEW:
            self._publisher.hasten()
        else:
            self._publisher.relieve()
        if not self._ticks:
            self._ticks = True
            self.loop.call_later(TICK_SECONDS, self._tick)
        return ended

    def _report(
        self, ended: "asyncio.Future[None]", error: KafkaError | None, record: Record
    ) -> None:
        """Called by librdkafka, in whichever thread looks at the reports."""
        if error is not None:
            # To name a topic's limit the cluster is asked.
            lost = Undelivered.of(error, record)
            Thread(target=partial(self._fail, ended, lost), name="kafka-failure").start()
        elif threading.get_ident() == self._thread:
            self._end(ended)
        else:
            self._arrived.append(ended)
            # Read after the append, and cleared before the first `popleft`: none is left lying.
            if not self._woken:
                self._woken = True
                self._call(self._end_arrived)

    def _fail(self, ended: "asyncio.Future[None]", lost: Undelivered) -> None:
        self._call(self._end, ended, self._publisher.reason(lost))

    def _call(self, *call: object) -> None:
        try:
            self.loop.call_soon_threadsafe(*call)  # type: ignore[arg-type]
        except RuntimeError:
            logger.debug("a report came after its event loop was closed")

    def _end_arrived(self) -> None:
        self._woken = False
        while self._arrived:
            self._end(self._arrived.popleft())

    def _end(self, ended: "asyncio.Future[None]", error: Exception | None = None) -> None:
        self._outstanding -= 1
        if ended.done():
            return
        if error is None:
            ended.set_result(None)
        else:
            ended.set_exception(error)

    def _tick(self) -> None:
        left = self._publisher.serve()
        now = self.loop.time()
        while self._awaited:
            deadline, ended = self._awaited[0]
            if not ended.done():
                if now < deadline:
                    break
                ended.set_exception(PublishFailed(self._late))
            self._awaited.popleft()
        # Other callers' messages too: their reports were left to this.
        self._ticks = bool(left or self._awaited)
        if self._ticks:
            self.loop.call_later(TICK_SECONDS, self._tick)
