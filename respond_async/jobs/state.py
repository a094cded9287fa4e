"""What may become of a job: pure, no I/O. The Lua of `scripts` does the same in Redis.

A hypothesis test holds the two together.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final


class Status(StrEnum):
    """How far a job has come."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    TIMEOUT = "TIMEOUT"

    @property
    def ended(self) -> bool:
        """Whether nothing can become of it any more."""
        return not TRANSITIONS[self]


#: To which other status a job may go from each.
TRANSITIONS: Final[Mapping[Status, frozenset[Status]]] = {
    Status.PENDING: frozenset({Status.RUNNING, Status.CANCELLED}),
    Status.RUNNING: frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED, Status.TIMEOUT}),
    Status.COMPLETED: frozenset(),
    Status.FAILED: frozenset(),
    Status.CANCELLED: frozenset(),
    Status.TIMEOUT: frozenset(),
}


class Verdict(StrEnum):
    """What a worker that has a job's message is to do."""

    #: It is this run's.
    RUN = "run"
    #: Somebody else runs it: wait.
    BUSY = "busy"
    #: It has ended.
    ENDED = "ended"
    #: As many run as may: it is published again when there is room.
    PARKED = "parked"
    #: There is no such job: it was refused or deleted.
    GONE = "gone"


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """What decides over a job.

    Invariants:
        * `status` only goes as `TRANSITIONS` says.
        * Nobody but the holder ends a run, while its lease lasts.
    """

    status: Status = Status.PENDING
    #: Whether a run that was lost may be followed by another.
    repeatable: bool = True
    #: How often it was begun.
    attempts: int = 0
    #: How many of its runs were lost: their workers died.
    losses: int = 0
    #: Who runs it, or ended it; "" between two attempts.
    holder: str = ""
    #: Until when the holder is taken to be alive, in milliseconds.
    lease: int = 0
    #: Its owner wants it ended, and its run has not ended yet.
    cancelling: bool = False


def begin(  # noqa: PLR0911 - one for each thing that may be found
    state: State,
    holder: str,
    now: int,
    lease: int,
    *,
    most_losses: int,
    dead: str = "",
    room: bool = True,
) -> tuple[State, Verdict]:
    """A worker has the job's message.

    Args:
        state: The job.
        holder: This run; another one at each begin.
        now: Milliseconds.
        lease: Milliseconds that the holder is taken to be alive.
        most_losses: So many lost runs end the job.
        dead: A holder that is known to be dead, whatever its lease says.
        room: Whether its limits let another one run.
    """
    if state.status.ended:
        return state, Verdict.ENDED
    if state.holder == holder:
        return replace(state, lease=now + lease), Verdict.RUN
    losses = state.losses
    if state.holder:
        if state.lease > now and state.holder != dead:
            return state, Verdict.BUSY
        losses += 1
    if state.cancelling:
        return replace(state, status=Status.CANCELLED, losses=losses), Verdict.ENDED
    if state.holder and (not state.repeatable or losses >= most_losses):
        return replace(state, status=Status.FAILED, losses=losses), Verdict.ENDED
    if not room:
        return replace(state, losses=losses, holder="", lease=0), Verdict.PARKED
    return replace(
        state,
        status=Status.RUNNING,
        attempts=state.attempts + 1,
        losses=losses,
        holder=holder,
        lease=now + lease,
    ), Verdict.RUN


def end(state: State, holder: str, status: Status) -> tuple[State, bool]:
    """A run has ended; whether that counts.

    What a run was cancelled for counts only if the owner asked for it; a run that ended by itself
    meanwhile says how.
    """
    if state.status is not Status.RUNNING or state.holder != holder:
        # The same script again, after a connection was lost: it counted.
        return state, state.status is status and state.holder == holder
    return replace(state, status=status), True


def put_back(state: State, holder: str) -> tuple[State, bool]:
    """A run is given up and is to be followed by another; whether it will."""
    if state.status is not Status.RUNNING or state.holder != holder:
        return state, False
    if state.cancelling:
        return replace(state, status=Status.CANCELLED), False
    if not state.repeatable:
        return replace(state, status=Status.FAILED), False
    return replace(state, holder="", lease=0), True


def cancel(state: State) -> State:
    """The owner wants it ended. What runs is ended by its worker, and CANCELLED only then."""
    if state.status.ended:
        return state
    if state.status is Status.RUNNING and state.holder:
        return replace(state, cancelling=True)
    return replace(state, status=Status.CANCELLED)
