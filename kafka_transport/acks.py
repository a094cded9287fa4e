"""Which messages of one partition are done: acks of single messages, in any order.

Kafka stores one committed offset per partition, so what may be committed is the contiguous prefix
of *the records received* (offsets have gaps after compaction and transaction markers). What was
acked beyond that prefix, and what was delivered and is not acked yet, stands in the commit's
metadata, the way Confluent's Parallel Consumer does it: a restart runs only what was truly
unfinished, and knows which messages were begun before.

Pure and without threads: `partitions.Partitions` holds a lock around it.
"""

from collections import deque
from typing import Final, NamedTuple

from kafka_transport.commit_metadata import decode_metadata, encode_metadata

__all__ = ["Commit", "PartitionAcks"]


class Commit(NamedTuple):
    """What is to be committed for a partition."""

    offset: int
    metadata: str


class PartitionAcks:
    """The state of one partition as long as this process lives.

    It outlives an assignment: a partition that is lost and comes back (a broker's restart, a
    rebalance) redelivers offsets whose first copy still runs here or was acked meanwhile, and
    neither may run again (celery/celery#4671).

    Invariants:
        * `_received` holds, in order, what came in this assignment and is not in the prefix.
        * An offset is in at most one of `_running`, `_done` and `_uncommitted`.
        * Every record received below `position` is done.

    Offsets are kept with their record's timestamp, which tells a redelivery from another record at
    the same offset, as a topic that was deleted and made again has it; None stands for what the
    group's own metadata says.
    """

    def __init__(self) -> None:
        self.position: int | None = None
        self.last_received = -1
        self._received: Final[deque[int]] = deque()
        self._running: Final[dict[int, int]] = {}
        #: How often a message that is not done was handed to a consumer, here or before.
        self._begun: dict[int, int] = {}
        #: Acked beyond the prefix.
        self._done: dict[int, int | None] = {}
        #: Acked, in the prefix, and not known to be committed.
        self._uncommitted: dict[int, int | None] = {}
        self._committed: Commit | None = None

    def assign(self, committed_offset: int | None, metadata: str) -> None:
        """A new assignment begins: what the group has stored is added to what is known here."""
        stored, begun = decode_metadata(committed_offset or 0, metadata)
        known = {**dict.fromkeys(stored), **self._done, **self._uncommitted}
        self._begun = {
            offset: max(self._begun.get(offset, 0), begun.get(offset, 0))
            for offset in self._begun.keys() | begun.keys()
            if offset >= (committed_offset or 0)
        }
        self._done = {o: at for o, at in known.items() if o >= (committed_offset or 0)}
        self._uncommitted.clear()
        self._received.clear()
        self.last_received = -1
        self.position = committed_offset
        self._committed = None if committed_offset is None else Commit(committed_offset, metadata)

    def receive(self, offset: int, timestamp: int) -> bool:
        """Notes a record that came in; true if it is to be delivered."""
        self._received.append(offset)
        self.last_received = offset
        if self._done.get(offset, -1) in (timestamp, None):
            return False
        if self._running.get(offset) == timestamp:
            return False
        self._done.pop(offset, None)
        self._running[offset] = timestamp
        return True

    def begin(self, offset: int) -> None:
        """The message at `offset` is handed to a consumer."""
        self._begun[offset] = self._begun.get(offset, 0) + 1

    def deliveries(self, offset: int) -> int:
        """How often the message at `offset` was handed to a consumer so far."""
        return self._begun.get(offset, 0)

    def ack(self, offset: int) -> None:
        """The message at `offset` needs not be delivered again."""
        self._begun.pop(offset, None)
        timestamp = self._running.pop(offset, None)
        if self.position is None or offset >= self.position:
            self._done[offset] = timestamp

    def forget(self, offset: int) -> None:
        """A message was dropped unseen: it is to be delivered when it comes again."""
        self._running.pop(offset, None)

    @property
    def running(self) -> int:
        """Messages delivered and not yet acked."""
        return len(self._running)

    @property
    def ahead(self) -> int:
        """Offsets from the oldest unfinished record to the newest received."""
        self._advance()
        return self.last_received - self._received[0] + 1 if self._received else 0

    def to_commit(self) -> Commit | None:
        """What to commit now, or None if the group already has it."""
        self._advance()
        if self.position is None:
            return None
        commit = Commit(self.position, encode_metadata(self.position, set(self._done), self._begun))
        return None if commit == self._committed else commit

    def committed(self, commit: Commit) -> None:
        """The group has stored `commit`."""
        self._committed = commit
        self._uncommitted = {o: at for o, at in self._uncommitted.items() if o >= commit.offset}

    def _advance(self) -> None:
        received, done = self._received, self._done
        while received and received[0] in done:
            offset = received.popleft()
            self._uncommitted[offset] = done.pop(offset)
            self.position = offset + 1
        if received and (self.position is None or self.position < received[0]):
            self.position = received[0]
            self._done = {o: at for o, at in done.items() if o >= received[0]}
