"""The ack state of all partitions of one consumer."""

import time
from collections import deque
from collections.abc import Callable, Container, Iterable
from typing import Final

from kafka_transport.acks import Commit, PartitionAcks

__all__ = ["Partitions", "Place"]

#: Topic and partition.
Place = tuple[str, int]

#: Seconds between two looks at what was acked, while a partition waits to be given back.
LOOK_SECONDS: Final = 0.005


class Partitions:
    """`PartitionAcks` by topic and partition: the polling thread's own.

    What other threads have to say (`begin`, `settle`, `forget`) is put on a deque, which needs no
    lock, and takes effect with the next `apply`.

    A partition is never dropped: its state outlives an assignment (see `acks`).
    """

    def __init__(self) -> None:
        self._acks: Final[dict[Place, PartitionAcks]] = {}
        self._changed: Final[set[Place]] = set()
        #: No partition that has a message which is not done is missing here; others may be in it.
        self._unfinished: Final[set[Place]] = set()
        self._said: Final[deque[tuple[Callable[[PartitionAcks, int], None], Place, int]]] = deque()

    # From any thread.

    def begin(self, place: Place, offset: int) -> None:
        """A message is handed to a consumer."""
        self._said.append((PartitionAcks.begin, place, offset))

    def settle(self, place: Place, offset: int) -> None:
        """A message is done."""
        self._said.append((PartitionAcks.ack, place, offset))

    def forget(self, place: Place, offset: int) -> None:
        """A message was dropped: it is delivered when it comes again."""
        self._said.append((PartitionAcks.forget, place, offset))

    # From the polling thread.

    def apply(self) -> int:
        """Takes in what other threads have said, in their order; how much that was."""
        said, acks, changed = self._said, self._acks, self._changed
        count = len(said)
        for _ in range(count):
            event, place, offset = said.popleft()
            event(acks[place], offset)
            changed.add(place)
        return count

    def assign(self, place: Place, committed_offset: int | None, metadata: str) -> None:
        """The partition is ours from now on, with what the group has stored of it."""
        self._acks.setdefault(place, PartitionAcks()).assign(committed_offset, metadata)
        self._changed.add(place)

    def receive(self, place: Place, offset: int, timestamp: int) -> int | None:
        """Notes a record; how often it was delivered before, or None if it needs not be now."""
        self._changed.add(place)
        self._unfinished.add(place)
        acks = self._acks[place]
        return acks.deliveries(offset) if acks.receive(offset, timestamp) else None

    def busy(self, waiting: Container[Place]) -> bool:
        """Whether a commit is due or may be soon; nothing is expected of `waiting`."""
        return bool(self._changed) or any(
            self._acks[place].running for place in self._unfinished if place not in waiting
        )

    def unfinished(self) -> set[Place]:
        """Partitions with a message that is not done; few of the many that an idle worker has."""
        for place in list(self._unfinished):
            acks = self._acks[place]
            if not (acks.running or acks.ahead):
                self._unfinished.remove(place)
        return self._unfinished

    @property
    def running(self) -> int:
        """Messages received and not done."""
        return sum(acks.running for acks in self._acks.values())

    def ahead(self, place: Place) -> int:
        """Offsets from the oldest unfinished record to the newest received."""
        return self._acks[place].ahead

    def wait_until_idle(
        self, places: Iterable[Place], timeout: float, give_up: Callable[[], bool]
    ) -> int:
        """Waits for the running messages of these partitions; how many are left in the end."""
        places = list(places)
        deadline = time.monotonic() + timeout
        while True:
            self.apply()
            left = sum(self._acks[place].running for place in places)
            if not left or time.monotonic() >= deadline or give_up():
                return left
            time.sleep(LOOK_SECONDS)

    def changed(self, places: Iterable[Place]) -> None:
        """Commits of these are to be looked at again."""
        self._changed.update(places)

    def take_commits(self, places: Iterable[Place]) -> dict[Place, Commit]:
        """What is to be committed of these partitions now; other changes are forgotten."""
        commits = {
            place: commit
            for place in self._changed.intersection(places)
            if (commit := self._acks[place].to_commit()) is not None
        }
        self._changed.clear()
        return commits

    def committed(self, place: Place, commit: Commit) -> None:
        """The group has stored this commit."""
        self._acks[place].committed(commit)
