"""Sending records: one librdkafka producer a process, whichever thread or connection sends."""

import atexit
import logging
import os
import threading
import time
import weakref
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka import Message as Record

from kafka_transport.clients import Producer
from kafka_transport.config import Options, for_producer
from kafka_transport.confirmations import GRACE_SECONDS, Confirmation, Undelivered
from kafka_transport.errors import KafkaTransportError, PublishFailed, publish_error, too_large
from kafka_transport.native import Signal, Thread, outcome
from kafka_transport.statistics import statistics_properties
from kafka_transport.turns import Turns
from kafka_transport.wire import RecordHeaders

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = ["Destination", "Outgoing", "Publisher", "Report", "SizeLimits"]

logger = logging.getLogger(__name__)

#: Seconds without a report after which nobody is taken to wait for one.
POLL_SECONDS: Final = 0.5

#: Seconds between two looks at the reports that nobody waits for, and at librdkafka's log lines.
LOOK_SECONDS: Final = 2.0

#: Messages that nobody waits for are reported to the thread that sends them, so many at a time:
#: a second thread that took the interpreter's lock for each report cost more than sending.
REPORTS_EVERY: Final = 64

#: Milliseconds that messages which nobody waits for may wait for company. Measured at 4,000
#: messages a second: 0 ms cost 60 us of CPU a message, 5 ms 30, 10 ms 25.
PIPELINED_LINGER_MS: Final = 10

#: The partition that the key's hash names: librdkafka's RD_KAFKA_PARTITION_UA.
BY_KEY: Final = -1

#: Seconds that a fork waits for what is queued: its parent may end right after.
FORK_SECONDS: Final = 5.0

#: Seconds between two tries to queue a record where the queue is full.
FULL_SECONDS: Final = 0.005

#: Seconds to wait for a topic's limit, which is only for the text of an error.
LIMIT_SECONDS: Final = 5.0

#: Takes a delivery report.
Report = Callable[[KafkaError | None, Record], None]

#: What a topic takes at most, in bytes, None if it cannot be told; by the topic's name.
SizeLimits = Callable[[str], "Future[int | None]"]


class Destination(NamedTuple):
    """Where a record goes."""

    topic: str
    #: How many partitions the topic has. A record without key or partition goes to each in turn
    #: (`turns`).
    partitions: int
    #: Which one, if it matters.
    partition: int | None = None


class Outgoing(NamedTuple):
    """A record to be sent."""

    to: Destination
    #: None takes back what a compacted topic has under `key`.
    value: bytes | None
    headers: RecordHeaders
    key: bytes | None = None


class Publisher:
    """Idempotent, acks=all. Every method may be called from any thread.

    `limits` and `forget` ask and tell the topics: what one takes at most, and that one is gone.
    """

    def __init__(
        self,
        properties: dict[str, Any],
        options: Options,
        limits: SizeLimits,
        forget: Callable[[str], None],
    ) -> None:
        #: Seconds.
        self.timeout: Final = options.publish_timeout
        self._limits: Final = limits
        self._forget: Final = forget
        self._properties: Final = {
            **_producer_properties(options),
            **for_producer(properties),
            **options.kafka_producer_config,
            **statistics_properties(options, "producer"),
        }
        self._producer: Final = Producer(self._properties)
        self._pid: Final = os.getpid()
        self._turns: Final[defaultdict[str, Turns]] = defaultdict(Turns)
        self._posted = 0
        #: Posted messages that were not stored.
        self._lost = 0
        #: Somebody waits for a report, or did a moment ago.
        self._last_awaited = 0.0
        self._awaited: Final = Signal()
        self._stopping: Final = threading.Event()
        self._thread: Final = Thread(target=self._serve_reports, name="kafka-publisher")
        self._thread.start()
        atexit.register(self.close)
        _publishers.add(self)

    def send(self, record: Outgoing, report: Report) -> None:
        """Queues a record; `report` is called at once when its fate is known, by another thread.

        With the local queue full it waits for room, up to the publish timeout.

        Raises:
            KafkaTransportError: The record cannot even be queued.
        """
        self._queue(record, report)
        self._last_awaited = time.monotonic()
        if not self._awaited.is_set():
            self._awaited.set()

    def post(self, record: Outgoing, report: Report | None = None) -> None:
        """Queues a record for whose report nobody waits yet; it comes within two seconds.

        Without `report` a failed delivery is said in the log. Waits and raises like `send`.
        """
        self._queue(record, report or self._log_failure)
        self._posted += 1
        if self._posted % REPORTS_EVERY == 0:
            self._producer.poll(0)

    def hasten(self) -> None:
        """Somebody waits now for the reports of what was posted."""
        self._last_awaited = time.monotonic()
        if not self._awaited.is_set():
            self._awaited.set()

    def relieve(self) -> None:
        """Somebody calls `serve` from now on; until then reports come every half second."""
        if self._awaited.is_set():
            self._awaited.clear()

    def serve(self) -> int:
        """Looks at the reports there are, in this thread; how many are still to come."""
        self._producer.poll(0)
        return len(self._producer)

    def _queue(self, record: Outgoing, report: Report) -> None:
        (topic, partitions, partition), value, headers, key = record
        if partition is None:
            partition = (
                self._turns[topic].take(partitions, time.monotonic()) if key is None else BY_KEY
            )
        deadline, lost = 0.0, self._lost
        while True:
            try:
                self._producer.produce(topic, value, key, partition, report, headers)
            except BufferError as full:
                deadline = deadline or time.monotonic() + self.timeout
                self.hasten()
                time.sleep(FULL_SECONDS)
                # Room that comes of messages given up is none: this one would end as they did.
                if time.monotonic() > deadline or self._lost != lost:
                    raise self._still_full() from full
            except KafkaException as error:
                raise self._refused(error.args[0], record) from error
            else:
                return

    def _still_full(self) -> PublishFailed:
        return PublishFailed(
            f"{len(self._producer)} messages wait for Kafka, as many as max_unsent_bytes allows, "
            f"and none was stored in {self.timeout:g} s: check that the brokers are up; if they "
            "are only slow, publish less at once or raise max_unsent_bytes or publish_timeout"
        )

    def _refused(self, error: KafkaError, record: Outgoing) -> KafkaTransportError:
        """The client itself did not take the record."""
        topic = record.to.topic
        if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            size = len(record.value or b"") + len(record.key or b"") + _size_of(record.headers)
            return too_large(topic, size, client_limit=int(self._properties["message.max.bytes"]))
        self._note(error, topic)
        return publish_error(error, topic)

    def wait(self, confirmation: Confirmation, timeout: float | None = None) -> None:
        """Returns once the broker acknowledged the record.

        Raises:
            KafkaTransportError: It did not, within `timeout` seconds or the publish timeout.
        """
        limit = self.timeout + GRACE_SECONDS if timeout is None else timeout
        if not confirmation.wait(limit):
            raise PublishFailed(f"Kafka did not acknowledge within {limit:g} s")
        if confirmation.undelivered is not None:
            raise self.reason(confirmation.undelivered)

    def store(self, records: Iterable[Outgoing]) -> None:
        """Sends records and returns once the broker has them all; raises like `send` and `wait`."""
        confirmations = []
        for record in records:
            confirmation = Confirmation()
            self.send(record, confirmation.report)
            confirmations.append(confirmation)
        for confirmation in confirmations:
            self.wait(confirmation)

    def reason(self, undelivered: Undelivered) -> KafkaTransportError:
        """What a caller is told of a record that was not stored. May ask the cluster for a limit."""
        error, topic, size = undelivered
        self._note(error, topic)
        if error.code() != KafkaError.MSG_SIZE_TOO_LARGE:
            return publish_error(error, topic)
        try:
            limit = outcome(self._limits(topic), LIMIT_SECONDS)
        except TimeoutError:
            limit = None
        return too_large(topic, size, topic_limit=limit)

    def flush(self, timeout: float | None = None) -> int:
        """Waits for what is queued; how many messages are still there after `timeout` seconds."""
        return self._producer.flush(self.timeout if timeout is None else timeout)

    def before_fork(self) -> None:
        """A process that forks may end itself with `os._exit`, as a daemon's parent does."""
        if self._pid == os.getpid() and not self._stopping.is_set() and len(self._producer):
            left = self.flush(FORK_SECONDS)
            if left:
                logger.warning("%d messages were not delivered to Kafka before a fork", left)

    def close(self) -> None:
        """Delivers what is queued and ends. Says in the log what could not be delivered."""
        if self._pid != os.getpid() or self._stopping.is_set():
            return
        left = self.flush()
        if left:
            logger.error("%d messages were not delivered to Kafka and are lost", left)
        self._stopping.set()
        self._awaited.set()
        self._thread.join(POLL_SECONDS * 4)
        atexit.unregister(self.close)

    def _serve_reports(self) -> None:
        while not self._stopping.is_set():
            if not self._awaited.wait(LOOK_SECONDS):
                self._producer.poll(0)
                continue
            self._producer.poll(POLL_SECONDS)
            idle = time.monotonic() - self._last_awaited
            if idle > self.timeout or (idle > POLL_SECONDS and not len(self._producer)):
                self._awaited.clear()

    def _log_failure(self, error: KafkaError | None, record: Record) -> None:
        if error is None:
            return
        self._lost += 1
        topic = str(record.topic())
        self._note(error, topic)
        if error.code() != KafkaError.MSG_SIZE_TOO_LARGE:
            logger.error("lost: %s", publish_error(error, topic))
            return
        size = Undelivered.of(error, record).size

        def say(limit: "Future[int | None]") -> None:
            logger.error("lost: %s", too_large(topic, size, topic_limit=limit.result()))

        self._limits(topic).add_done_callback(say)

    def _note(self, error: KafkaError, topic: str) -> None:
        if error.code() in _GONE:
            self._forget(topic)


_publishers: Final["weakref.WeakSet[Publisher]"] = weakref.WeakSet()


def _before_fork() -> None:
    for publisher in list(_publishers):
        publisher.before_fork()


def _in_child() -> None:
    _publishers.clear()


os.register_at_fork(before=_before_fork, after_in_child=_in_child)

_GONE: Final = frozenset(
    {
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001  # it has no public name
        KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001
    }
)


def _producer_properties(options: Options) -> dict[str, Any]:
    return {
        "enable.idempotence": True,
        "acks": "all",
        "compression.type": options.compression,
        "linger.ms": 0 if options.confirm_publish else PIPELINED_LINGER_MS,
        "message.timeout.ms": int(options.publish_timeout * 1000),
        "message.max.bytes": options.max_message_bytes,
        "queue.buffering.max.kbytes": max(1, options.max_unsent_bytes // 1024),
    }


def _size_of(headers: RecordHeaders) -> int:
    return sum(len(name) + len(value or b"") for name, value in headers)
