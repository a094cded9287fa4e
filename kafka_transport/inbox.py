"""Messages that have come in and wait for a consumer, and the file descriptor that says so."""

import contextlib
import os
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from kafka_transport.wire import Envelope

__all__ = ["Delivery", "Inbox"]


@dataclass(slots=True, eq=False)
class Delivery:
    """One message for one queue.

    `settle` is called once, from any thread, when the message is acked. A message of a transient
    queue has none.
    """

    queue: str
    envelope: Envelope
    #: Topic and partition it came from, for a message of a durable queue.
    origin: tuple[str, int] | None = None
    settle: Callable[[], None] | None = None
    #: Called when the message is handed to a consumer.
    begin: Callable[[], None] | None = None
    #: How often it was handed to a consumer before.
    deliveries: int = 0
    #: Called instead of `settle` if nobody ever saw the message.
    drop: Callable[[], None] | None = None


class Inbox:
    """Filled by the polling threads, emptied by the thread that drains the connection."""

    def __init__(self) -> None:
        self._lock: Final = threading.Lock()
        self._control: Final[OrderedDict[str, deque[Delivery]]] = OrderedDict()
        self._tasks: Final[OrderedDict[str, deque[Delivery]]] = OrderedDict()
        self._bell: Final = _Bell()

    def put(self, deliveries: list[Delivery], *, control: bool) -> None:
        """Adds messages and wakes the connection. Control messages overtake tasks."""
        queues = self._control if control else self._tasks
        with self._lock:
            for delivery in deliveries:
                queues.setdefault(delivery.queue, deque()).append(delivery)
        self._bell.ring()

    def queues(self) -> Iterator[str]:
        """Queues with a message, in the order in which they are to be served."""
        with self._lock:
            return iter([*self._control, *self._tasks])

    def take(self, queue: str) -> Delivery | None:
        """The oldest message of `queue`; the queue goes behind the others."""
        with self._lock:
            for queues in (self._control, self._tasks):
                waiting = queues.get(queue)
                if waiting:
                    delivery = waiting.popleft()
                    if waiting:
                        queues.move_to_end(queue)
                    else:
                        del queues[queue]
                    return delivery
        return None

    def discard(self, wanted: Callable[[Delivery], bool]) -> int:
        """Drops the messages that `wanted` names, unseen; how many they were."""
        dropped: list[Delivery] = []
        with self._lock:
            for queues in (self._control, self._tasks):
                for queue in list(queues):
                    kept: deque[Delivery] = deque()
                    for delivery in queues[queue]:
                        (dropped if wanted(delivery) else kept).append(delivery)
                    if kept:
                        queues[queue] = kept
                    else:
                        del queues[queue]
        for delivery in dropped:
            if delivery.drop is not None:
                delivery.drop()
        return len(dropped)

    def waiting(self, *, control: bool) -> int:
        """Messages that wait for a consumer."""
        with self._lock:
            return sum(map(len, (self._control if control else self._tasks).values()))

    def waiting_in(self, queue: str) -> int:
        """Messages of one queue that wait for a consumer."""
        with self._lock:
            return len(self._control.get(queue, ())) + len(self._tasks.get(queue, ()))

    def ring(self) -> None:
        """Wakes the connection although nothing was put: there is room for a message again."""
        self._bell.ring()

    def hush(self) -> None:
        """Takes the wake-up back; look for messages after this, not before."""
        self._bell.hush()

    def fileno(self) -> int:
        """Readable while there may be something to take."""
        return self._bell.fileno()

    def close(self) -> None:
        """Gives the descriptor back."""
        self._bell.close()


class _Bell:
    """An eventfd; where there is none (not Linux), a pipe."""

    def __init__(self) -> None:
        self._closed = False
        if hasattr(os, "eventfd"):
            self._read = self._write = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        else:
            self._read, self._write = os.pipe()
            os.set_blocking(self._read, False)
            os.set_blocking(self._write, False)
        self._lock = threading.Lock()

    def ring(self) -> None:
        with self._lock:
            if not self._closed:
                # Blocked means that it is ringing already.
                with contextlib.suppress(BlockingIOError):
                    os.write(self._write, (1).to_bytes(8, "little"))

    def hush(self) -> None:
        with self._lock:
            if not self._closed:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._read, 4096)

    def fileno(self) -> int:
        return self._read

    def close(self) -> None:
        with self._lock:
            if not self._closed:
                self._closed = True
                for descriptor in {self._read, self._write}:
                    os.close(descriptor)
