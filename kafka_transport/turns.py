"""Which partition of a topic gets the next record that has no key. Pure.

One each in turn, so that workers get even shares. A burst goes in runs, several records to one
partition before the next has its turn: what is sent together is then one batch and not one for each
partition, which costs the client and above all the broker less (KIP-480 is the same thought). A run
is a quarter of what each partition has of the burst so far, at most, so the shares stay even.
"""

from typing import Final

__all__ = ["LONGEST_RUN", "Turns"]

#: Records of a run, at most. Longer ones save nothing more.
LONGEST_RUN: Final = 16

#: A run is this part of what each partition has of the burst.
SHARE: Final = 4

#: Seconds that a run lasts, at most: what comes later is sent later. After as much silence a burst
#: counts for half.
TOGETHER_SECONDS: Final = 0.01

#: Times of that after which nothing is left of any burst.
FORGOTTEN: Final = 32


class Turns:
    """Of one topic. From any thread, without a lock: a turn taken twice does no harm."""

    __slots__ = ("_began", "_burst", "_last", "_left", "_turn")

    def __init__(self) -> None:
        #: Records of the burst; no more than make the longest run.
        self._burst = 0
        #: When the last record came, and when the run began.
        self._last = self._began = 0.0
        #: Records that are left of the run.
        self._left = 0
        self._turn = -1

    def take(self, partitions: int, now: float) -> int:
        """The partition for a record, at a time in seconds."""
        gap, self._last = now - self._last, now
        if gap > TOGETHER_SECONDS:
            self._burst >>= min(int(gap / TOGETHER_SECONDS), FORGOTTEN)
        self._burst += 1
        if self._left > 0 and now - self._began < TOGETHER_SECONDS:
            self._left -= 1
        else:
            self._turn += 1
            self._began = now
            self._burst = min(self._burst, SHARE * partitions * LONGEST_RUN)
            self._left = min(self._burst // (SHARE * partitions), LONGEST_RUN - 1)
        return self._turn % partitions
