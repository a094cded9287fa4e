"""The ack state of all partitions of one consumer, for any thread."""

import threading
import time
from collections.abc import Callable, Container, Iterable
from typing import Final

from kafka_transport.acks import Commit, PartitionAcks

__all__ = ["Partitions", "Place"]

#: Topic and partition.
Place = tuple[str, int]


class Partitions:
    """`PartitionAcks` by topic and partition, under one lock.

    A partition is never dropped: its state outlives an assignment (see `acks`).
    """

    def __init__(self) -> None:
        self._settled: Final = threading.Condition()
        self._acks: Final[dict[Place, PartitionAcks]] = {}
        self._changed: Final[set[Place]] = set()

    def assign(self, place: Place, committed_offset: int | None, metadata: str) -> None:
        """The partition is ours from now on, with what the group has stored of it."""
        with self._settled:
            self._acks.setdefault(place, PartitionAcks()).assign(committed_offset, metadata)
            self._changed.add(place)

    def receive(self, place: Place, offset: int, timestamp: int) -> int | None:
        """Notes a record; how often it was delivered before, or None if it needs not be now."""
        with self._settled:
            self._changed.add(place)
            acks = self._acks[place]
            return acks.deliveries(offset) if acks.receive(offset, timestamp) else None

    def begin(self, place: Place, offset: int) -> None:
        """A message is handed to a consumer."""
        with self._settled:
            self._acks[place].begin(offset)
            self._changed.add(place)

    def settle(self, place: Place, offset: int) -> None:
        """A message is done."""
        with self._settled:
            self._acks[place].ack(offset)
            self._changed.add(place)
            self._settled.notify_all()

    def forget(self, place: Place, offset: int) -> None:
        """A message was dropped: it is delivered when it comes again."""
        with self._settled:
            self._acks[place].forget(offset)
            self._settled.notify_all()

    def busy(self, waiting: Container[Place]) -> bool:
        """Whether a commit is due or may be soon; nothing is expected of `waiting`."""
        with self._settled:
            return bool(self._changed) or any(
                acks.running for place, acks in self._acks.items() if place not in waiting
            )

    def topics_with_running(self) -> set[str]:
        """Topics of which a message is delivered and not done."""
        with self._settled:
            return {topic for (topic, _), acks in self._acks.items() if acks.running}

    def ahead(self, place: Place) -> int:
        """Offsets from the oldest unfinished record to the newest received."""
        with self._settled:
            return self._acks[place].ahead

    def wait_until_idle(
        self, places: Iterable[Place], timeout: float, give_up: Callable[[], bool]
    ) -> int:
        """Waits for the running messages of these partitions; how many are left in the end."""
        places = list(places)
        deadline = time.monotonic() + timeout
        with self._settled:
            while True:
                left = sum(self._acks[place].running for place in places)
                wait = deadline - time.monotonic()
                if not left or wait <= 0 or give_up():
                    return left
                self._settled.wait(wait)

    def wake(self) -> None:
        """Lets `wait_until_idle` look at `give_up` again."""
        with self._settled:
            self._settled.notify_all()

    def changed(self, places: Iterable[Place]) -> None:
        """Commits of these are to be looked at again."""
        with self._settled:
            self._changed.update(places)

    def take_commits(self, places: Iterable[Place]) -> dict[Place, Commit]:
        """What is to be committed of these partitions now; other changes are forgotten."""
        with self._settled:
            commits = {
                place: commit
                for place in self._changed.intersection(places)
                if (commit := self._acks[place].to_commit()) is not None
            }
            self._changed.clear()
            return commits

    def committed(self, place: Place, commit: Commit) -> None:
        """The group has stored this commit."""
        with self._settled:
            self._acks[place].committed(commit)
