"""Waiting for the broker's word on what was published: one message, or many together.

`Channel.basic_publish` asks `collecting()` whether its caller collects confirmations; if so it
leaves them there and returns at once, else it waits itself.
"""

import asyncio
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final, NamedTuple, ParamSpec, TypeVar

from confluent_kafka import KafkaError
from confluent_kafka import Message as Record

from kafka_transport.errors import BatchFailed, Failure, PublishFailed
from kafka_transport.native import Lock, Thread, acquire

if TYPE_CHECKING:
    from kafka_transport.publisher import Outgoing, Publisher

__all__ = ["Confirmation", "Confirmations", "batch", "collect", "collecting", "confirmed"]

P = ParamSpec("P")
T = TypeVar("T")

#: Seconds beyond the publish timeout after which a report that never came is given up.
GRACE_SECONDS: Final = 1.0


class Undelivered(NamedTuple):
    """A record that the broker did not take."""

    error: KafkaError
    topic: str
    #: Bytes of its value.
    size: int

    @classmethod
    def of(cls, error: KafkaError, record: Record) -> "Undelivered":
        """What a delivery report says."""
        return cls(error, str(record.topic()), len(record.value() or b""))


class Confirmation:
    """The broker's word on one record: set once, by the thread that serves the reports."""

    __slots__ = ("_arrived", "undelivered")

    def __init__(self) -> None:
        # A bare lock: a Future's condition costs ten times as much.
        self._arrived = Lock()
        self._arrived.acquire()
        self.undelivered: Undelivered | None = None

    def report(self, error: KafkaError | None, record: Record) -> None:
        """Called by librdkafka with the record's fate."""
        if error is not None:
            self.undelivered = Undelivered.of(error, record)
        self._arrived.release()

    def wait(self, timeout: float) -> bool:
        """Whether the word came within `timeout` seconds; only one thread may wait."""
        return acquire(self._arrived, timeout)


class Confirmations:
    """The broker's words on many messages. Counts; keeps those alone that failed.

    Wait for them with `wait()`, or with ``await`` on an event loop, which is not blocked.
    """

    def __init__(self) -> None:
        self._lock: Final = Lock()
        self._published = 0
        self._pending = 0
        self._deadline = 0.0
        self._publishers: Final[set[Publisher]] = set()
        self._undelivered: Final[list[tuple[str, Publisher, Undelivered]]] = []
        self._on_all: list[Callable[[], None]] = []

    def __len__(self) -> int:
        """Messages published so far, each counted once for every topic that it went to."""
        return self._published

    def publish(self, publisher: "Publisher", record: "Outgoing", message_id: str) -> None:
        """Sends a record, whose confirmation is one of these.

        Raises:
            KafkaTransportError: The record cannot even be queued; it is none of these then.
        """

        def report(error: KafkaError | None, stored: Record) -> None:
            if error is not None:
                lost = Undelivered.of(error, stored)
                self._undelivered.append((message_id, publisher, lost))
            self._finish()

        with self._lock:
            self._published += 1
            self._pending += 1
            self._publishers.add(publisher)
        try:
            publisher.post(record, report)
        except BaseException:
            self._published -= 1
            self._finish()
            raise
        self._deadline = time.monotonic() + publisher.timeout + GRACE_SECONDS

    def wait(self, timeout: float | None = None) -> None:
        """Returns once the broker has all of it.

        Args:
            timeout: Seconds; None is the publish timeout, counted from the last message.

        Raises:
            BatchFailed: It does not have all of it; `failures` says what and why.
        """
        arrived = Lock()
        arrived.acquire()
        self._when_all(arrived.release)
        failures = [] if acquire(arrived, self._left(timeout)) else [self._unanswered()]
        self._raise(failures + self._failures())

    def future(self) -> "Future[None]":
        """Ends once the broker has all of it, or with the first failure, in the thread of reports.

        For who has a way of its own to be woken. A failure is looked into in another thread: the
        cluster may be asked for a limit.
        """
        whole: Future[None] = Future()

        def settle() -> None:
            if self._undelivered:
                Thread(target=fail, name="kafka-failure").start()
            else:
                whole.set_result(None)

        def fail() -> None:
            whole.set_exception(self._failures()[0].error)

        self._when_all(settle)
        return whole

    def __await__(self) -> Generator[None, None, None]:
        """As `wait()`, without blocking the event loop."""
        return self._arrived().__await__()

    async def _arrived(self) -> None:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()

        def settle() -> None:
            if not future.done():
                future.set_result(None)

        def wake() -> None:
            loop.call_soon_threadsafe(settle)

        self._when_all(wake)
        failures: list[Failure] = []
        try:
            async with asyncio.timeout(self._left(None)):
                await future
        except TimeoutError:
            failures.append(self._unanswered())
        if self._undelivered:
            # To name the topic's limit the cluster is asked.
            failures += await asyncio.to_thread(self._failures)
        self._raise(failures)

    def _when_all(self, call: Callable[[], None]) -> None:
        with self._lock:
            if self._pending:
                self._on_all.append(call)
                call = _nothing
            publishers = list(self._publishers)
        call()
        for publisher in publishers:
            publisher.hasten()

    def _finish(self) -> None:
        with self._lock:
            self._pending -= 1
            calls, self._on_all = ([], self._on_all) if self._pending else (self._on_all, [])
        for call in calls:
            call()

    def _left(self, timeout: float | None) -> float:
        return max(0.0, self._deadline - time.monotonic()) if timeout is None else timeout

    def _unanswered(self) -> Failure:
        why = PublishFailed(f"Kafka did not acknowledge {self._pending} messages in time")
        return Failure("", "", why)

    def _failures(self) -> list[Failure]:
        return [
            Failure(message_id, lost.topic, publisher.reason(lost))
            for message_id, publisher, lost in list(self._undelivered)
        ]

    def _raise(self, failures: list[Failure]) -> None:
        if failures:
            raise BatchFailed(failures, self._published) from failures[0].error


def _nothing() -> None:
    pass


_collecting: Final[ContextVar[Confirmations | None]] = ContextVar("collecting", default=None)


def collecting() -> Confirmations | None:
    """Where this context's confirmations are collected, if they are."""
    return _collecting.get()


@contextmanager
def collect() -> Iterator[Confirmations]:
    """Inside, publishing does not wait; the confirmations can be waited for, or awaited, later.

    Holds for this thread (or asyncio task) and ``kafka://`` alone: a message to another broker is
    published as ever, and is none of these confirmations.
    """
    confirmations = Confirmations()
    token = _collecting.set(confirmations)
    try:
        yield confirmations
    finally:
        _collecting.reset(token)


@contextmanager
def batch(timeout: float | None = None) -> Iterator[Confirmations]:
    """Publishes many messages as fast as it goes, and at the end waits until the broker has all.

    ::

        with kafka_transport.batch():
            for order in orders:
                ship.delay(order)

    If the block raises, what it published until then is sent all the same, unconfirmed.

    Args:
        timeout: Seconds to wait at the end; None is the publish timeout.

    Raises:
        BatchFailed: The broker does not have all of it; `failures` says what and why.
    """
    with collect() as confirmations:
        yield confirmations
    confirmations.wait(timeout)


async def confirmed(publish: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Publishes from an event loop, which is never blocked, and returns when the broker has it.

    ::

        result = await kafka_transport.confirmed(task.apply_async, (1, 2))

    `publish` runs in a thread, since its first message may have to connect and to make a topic;
    the thread is free again before the broker answers. With other brokers than ``kafka://`` it
    returns when `publish` does.

    Raises:
        KafkaTransportError: The broker did not take the message, or one of several (`BatchFailed`).
        Exception: What `publish` raises.
    """

    def run() -> tuple[T, Confirmations]:
        with collect() as confirmations:
            return publish(*args, **kwargs), confirmations

    result, confirmations = await asyncio.to_thread(run)
    if len(confirmations):
        try:
            await confirmations
        except BatchFailed as failed:
            if len(confirmations) == 1:
                raise failed.failures[0].error from None
            raise
    return result
