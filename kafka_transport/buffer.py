"""Messages of one durable queue that have come in: by lane, and in the order of their keys."""

from collections import deque
from collections.abc import Callable
from typing import Final

from kafka_transport.delivery import Delivery
from kafka_transport.native import Lock

__all__ = ["Buffer"]


class Buffer:
    """Filled by the polling thread, emptied by the thread that drains the connection.

    Invariants, with key order:
        * Of each key at most one message is in a lane or with a consumer; that key is in `_held`.
        * What is held stands in the order in which it came.
    """

    def __init__(self, lanes: int = 1, *, key_order: bool = False) -> None:
        self._lock: Final = Lock()
        self._lanes: Final[list[deque[Delivery]]] = [deque() for _ in range(lanes)]
        self._highest_first: Final = self._lanes[::-1]
        self._key_order: Final = key_order
        self._held: Final[dict[bytes, deque[Delivery]]] = {}
        #: Messages behind another one of their key.
        self.held = 0
        #: Messages taken so far.
        self.taken = 0

    def put(self, deliveries: list[Delivery]) -> None:
        """Adds messages that came in."""
        with self._lock:
            for delivery in deliveries:
                key = delivery.key
                if self._key_order and key is not None:
                    behind = self._held.get(key)
                    if behind is not None:
                        behind.append(delivery)
                        self.held += 1
                        continue
                    self._held[key] = deque()
                    delivery.release = self.release
                self._lanes[delivery.lane].append(delivery)

    def put_back(self, delivery: Delivery) -> None:
        """A message that was taken is the next one of its lane again."""
        with self._lock:
            self._lanes[delivery.lane].appendleft(delivery)

    def take(self) -> Delivery | None:
        """The oldest message of the highest lane that has one."""
        with self._lock:
            for lane in self._highest_first:
                if lane:
                    self.taken += 1
                    return lane.popleft()
        return None

    def release(self, key: bytes) -> bool:
        """The message of this key is done; true if the next one of it can be taken now."""
        with self._lock:
            return self._next_of(key)

    def discard(self, wanted: Callable[[Delivery], bool]) -> list[Delivery]:
        """Takes out the messages that `wanted` names; those of one partition go together."""
        dropped: list[Delivery] = []
        with self._lock:
            for key, behind in self._held.items():
                self._held[key] = _sift(behind, wanted, dropped)
            self.held = sum(map(len, self._held.values()))
            freed: list[Delivery] = []
            for lane in self._lanes:
                kept = _sift(lane, wanted, freed)
                lane.clear()
                lane.extend(kept)
            for delivery in freed:
                if delivery.release is not None and delivery.key is not None:
                    delivery.release = None
                    self._next_of(delivery.key)
        return freed + dropped

    def waiting(self, lane: int) -> int:
        """Messages of a lane that can be taken."""
        return len(self._lanes[lane])

    def __len__(self) -> int:
        return sum(map(len, self._lanes)) + self.held

    def __bool__(self) -> bool:
        return any(self._lanes)

    def _next_of(self, key: bytes) -> bool:
        behind = self._held.get(key)
        if not behind:
            self._held.pop(key, None)
            return False
        delivery = behind.popleft()
        self.held -= 1
        delivery.release = self.release
        self._lanes[delivery.lane].append(delivery)
        return True


def _sift(
    deliveries: deque[Delivery], wanted: Callable[[Delivery], bool], dropped: list[Delivery]
) -> deque[Delivery]:
    kept: deque[Delivery] = deque()
    for delivery in deliveries:
        (dropped if wanted(delivery) else kept).append(delivery)
    return kept
