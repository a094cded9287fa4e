"""How long to wait for an answer of which librdkafka tells nothing before its time is over."""

import time
from collections.abc import Iterator
from typing import Final

__all__ = ["FIRST_LOOK_SECONDS", "looks"]

#: Seconds of the first attempt, after which it is seen whether the cluster refused; each further
#: one takes twice as long.
FIRST_LOOK_SECONDS: Final = 0.25


def looks(timeout: float) -> Iterator[tuple[float, bool]]:
    """Of each attempt, without end: how many seconds it may take, and whether it is the last within `timeout`."""
    deadline = time.monotonic() + timeout
    patience = FIRST_LOOK_SECONDS
    while True:
        left = deadline - time.monotonic()
        yield max(0.01, min(patience, left)), left <= patience
        patience *= 2
