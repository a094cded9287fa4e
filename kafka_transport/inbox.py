"""Messages that have come in and wait for a consumer, and the file descriptor that says so."""

import contextlib
import os
from collections import OrderedDict, deque
from typing import Final

from kafka_transport.buffer import Buffer
from kafka_transport.delivery import Delivery
from kafka_transport.native import Lock

__all__ = ["Inbox"]


class Inbox:
    """Filled by the polling threads, emptied by the thread that drains the connection."""

    def __init__(self) -> None:
        self._lock: Final = Lock()
        self._control: Final[OrderedDict[str, deque[Delivery]]] = OrderedDict()
        #: Of durable queues, in the order in which they are served.
        self._buffers: Final[OrderedDict[str, Buffer]] = OrderedDict()
        self._bell: Final = _Bell()

    def open(self, queue: str, lanes: int, *, key_order: bool) -> Buffer:
        """The place for messages of a durable queue; nothing is left in it of an earlier time."""
        with self._lock:
            buffer = self._buffers[queue] = Buffer(lanes, key_order=key_order)
        return buffer

    def put(self, deliveries: list[Delivery]) -> None:
        """Adds messages of transient queues, higher priorities first, and wakes the connection."""
        with self._lock:
            for delivery in deliveries:
                waiting = self._control.setdefault(delivery.queue, deque())
                # Few transient queues have priorities, and then few messages wait.
                behind = (i for i, other in enumerate(waiting) if other.lane < delivery.lane)
                waiting.insert(
                    next(behind, len(waiting)) if delivery.lane else len(waiting), delivery
                )
        self._bell.ring()

    def queues(self) -> list[str]:
        """Queues with a message, in turn. Control messages overtake tasks."""
        with self._lock:
            return [*self._control, *(queue for queue, buffer in self._buffers.items() if buffer)]

    def take(self, queue: str) -> Delivery | None:
        """The next message of `queue`; the queue goes behind the others."""
        with self._lock:
            buffer = self._buffers.get(queue)
            if buffer is not None:
                self._buffers.move_to_end(queue)
                return buffer.take()
            waiting = self._control.get(queue)
            if waiting is None:
                return None
            delivery = waiting.popleft()
            if waiting:
                self._control.move_to_end(queue)
            else:
                del self._control[queue]
            return delivery

    def put_back(self, delivery: Delivery) -> bool:
        """A message that was taken is the next one of its queue again; false if that is gone."""
        with self._lock:
            if delivery.origin is None:
                self._control.setdefault(delivery.queue, deque()).appendleft(delivery)
                return True
            buffer = self._buffers.get(delivery.queue)
        if buffer is None:
            return False
        buffer.put_back(delivery)
        return True

    def discard(self, queue: str) -> int:
        """Forgets what waits in a transient queue; how many messages that were."""
        with self._lock:
            return len(self._control.pop(queue, ()))

    def waiting(self) -> int:
        """Messages of transient queues that wait for a consumer."""
        with self._lock:
            return sum(map(len, self._control.values()))

    def waiting_in(self, queue: str) -> int:
        """Messages of one transient queue that wait for a consumer."""
        with self._lock:
            return len(self._control.get(queue, ()))

    def ring(self) -> None:
        """Wakes the connection: something was put, or there is room for a message again."""
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
        self._lock = Lock()
        self._ringing = False

    def ring(self) -> None:
        if self._ringing:
            return
        with self._lock:
            if not self._closed:
                self._ringing = True
                # Blocked means that it is ringing already.
                with contextlib.suppress(BlockingIOError):
                    os.write(self._write, (1).to_bytes(8, "little"))

    def hush(self) -> None:
        with self._lock:
            if not self._closed:
                # Before the look at what is there: who rings from now on is heard again.
                self._ringing = False
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
