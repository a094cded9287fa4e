"""What the hub of this process has done, as plain numbers: counting costs an addition."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

__all__ = ["COUNTS", "HubCounts"]


@dataclass(slots=True)
class HubCounts:
    """Only ever incremented, but for `connections`; read by whoever exports metrics."""

    #: Clients that are served now: sockets, event streams, long-polls.
    connections: int = 0
    #: Clients that were let in.
    connected: int = 0
    #: Messages handed to clients; one message to three clients counts three times.
    deliveries: int = 0
    #: Clients that came back with a position and were given all they had missed.
    recovered: int = 0
    #: Those whose history no longer reached back that far: they were told of a gap.
    gaps: int = 0
    #: How often the connection to Redis was lost and came back.
    redis_reconnections: int = 0

    @contextmanager
    def connection(self) -> Iterator[None]:
        """While one client is served."""
        self.connected += 1
        self.connections += 1
        try:
            yield
        finally:
            self.connections -= 1

    def caught_up(self, recovered: bool | None) -> None:  # noqa: FBT001 - as in `Receiver.caught_up`
        """One client has caught up with one channel; None: it had nothing to recover."""
        if recovered is not None:
            self.recovered += recovered
            self.gaps += not recovered


#: Of all hubs of this process.
COUNTS = HubCounts()
