"""Sending records: one librdkafka producer a process, whichever thread or connection sends."""

import atexit
import itertools
import logging
import os
import threading
import time
from collections import defaultdict
from concurrent.futures import Future
from typing import Any, Final, NamedTuple

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka import Message as Record

from kafka_transport.clients import Producer
from kafka_transport.config import Options, for_producer
from kafka_transport.errors import KafkaTransportError, PublishFailed, publish_error
from kafka_transport.native import Thread, outcome
from kafka_transport.wire import RecordHeaders

__all__ = ["Destination", "Outgoing", "Publisher", "log_failure"]

logger = logging.getLogger(__name__)

#: Seconds between two looks at the delivery reports when none comes by itself.
POLL_SECONDS: Final = 0.5

#: Seconds beyond the publish timeout after which a report that never came is given up.
GRACE_SECONDS: Final = 1.0


class Destination(NamedTuple):
    """Where a record goes."""

    topic: str
    #: How many partitions the topic has. A record without key or partition goes to each in turn,
    #: so that workers get even shares.
    partitions: int
    #: Which one, if it matters.
    partition: int | None = None


class Outgoing(NamedTuple):
    """A record to be sent."""

    to: Destination
    value: bytes
    headers: RecordHeaders
    key: bytes | None = None


class Publisher:
    """Idempotent, acks=all. Every method may be called from any thread."""

    def __init__(self, properties: dict[str, Any], options: Options) -> None:
        self._timeout: Final = options.publish_timeout
        self._producer: Final = Producer(
            for_producer(properties)
            | {
                "enable.idempotence": True,
                "acks": "all",
                "linger.ms": 0,
                "message.timeout.ms": int(options.publish_timeout * 1000),
            }
            | dict(options.kafka_producer_config)
        )
        self._pid: Final = os.getpid()
        self._turns: Final[defaultdict[str, itertools.count[int]]] = defaultdict(itertools.count)
        self._stopping: Final = threading.Event()
        self._thread: Final = Thread(target=self._serve_reports, name="kafka-publisher")
        self._thread.start()
        atexit.register(self.close)

    def send(self, record: Outgoing) -> Future[None]:
        """Queues a record; the future ends when the broker acknowledged it, or with why not.

        With the local queue full it waits for room, up to the publish timeout.

        Raises:
            KafkaTransportError: The record cannot even be queued.
        """
        confirmation: Future[None] = Future()

        def report(error: KafkaError | None, _: Record) -> None:
            if error is None:
                confirmation.set_result(None)
            else:
                confirmation.set_exception(publish_error(error, topic))

        topic = record.to.topic
        kwargs = self._place(record)
        deadline = time.monotonic() + self._timeout
        while True:
            try:
                self._producer.produce(
                    topic, record.value, headers=record.headers, on_delivery=report, **kwargs
                )
            except BufferError as full:
                if time.monotonic() > deadline:
                    raise PublishFailed(
                        f"{len(self._producer)} messages wait for Kafka and none was stored in "
                        f"{self._timeout:g} s: is the broker down?"
                    ) from full
                time.sleep(0.005)
            except KafkaException as error:
                raise publish_error(error.args[0], topic) from error
            else:
                return confirmation

    def _place(self, record: Outgoing) -> dict[str, Any]:
        place: dict[str, Any] = {}
        if record.key is not None:
            place["key"] = record.key
        if record.to.partition is not None:
            place["partition"] = record.to.partition
        elif record.key is None:
            place["partition"] = next(self._turns[record.to.topic]) % record.to.partitions
        return place

    def wait(self, confirmation: Future[None], timeout: float | None = None) -> None:
        """Returns once the broker acknowledged the record.

        Raises:
            KafkaTransportError: It did not, within `timeout` seconds or the publish timeout.
        """
        limit = self._timeout + GRACE_SECONDS if timeout is None else timeout
        try:
            outcome(confirmation, limit)
        except TimeoutError as error:
            raise PublishFailed(f"Kafka did not acknowledge within {limit:g} s") from error

    def flush(self, timeout: float | None = None) -> int:
        """Waits for what is queued; how many messages are still there after `timeout` seconds."""
        return self._producer.flush(self._timeout if timeout is None else timeout)

    def close(self) -> None:
        """Delivers what is queued and ends. Says in the log what could not be delivered."""
        if self._pid != os.getpid() or self._stopping.is_set():
            return
        left = self.flush()
        if left:
            logger.error("%d messages were not delivered to Kafka and are lost", left)
        self._stopping.set()
        self._thread.join(POLL_SECONDS * 4)
        atexit.unregister(self.close)

    def _serve_reports(self) -> None:
        while not self._stopping.is_set():
            self._producer.poll(POLL_SECONDS)


def log_failure(confirmation: Future[None]) -> None:
    """For messages that nobody waits for: a failed delivery is at least said."""
    error = confirmation.exception()
    if isinstance(error, KafkaTransportError):
        logger.warning("%s", error)
