"""The rules themselves; that Redis keeps them is tested in tests/integration."""

import pytest

from respond_async.jobs.state import (
    TRANSITIONS,
    State,
    Status,
    Verdict,
    begin,
    cancel,
    end,
    put_back,
)

LEASE = 1000


def running(**more: object) -> State:
    return State(status=Status.RUNNING, attempts=1, holder="a", lease=LEASE, **more)  # type: ignore[arg-type]


def test_what_has_ended_stays_so() -> None:
    for status in Status:
        assert status.ended == (status not in (Status.PENDING, Status.RUNNING))
        if status.ended:
            ended = State(status=status, holder="a")
            assert begin(ended, "b", 0, LEASE, most_losses=5) == (ended, Verdict.ENDED)
            assert cancel(ended) == ended
            assert put_back(ended, "a") == (ended, False)
            for other in TRANSITIONS:
                assert end(ended, "a", other)[0] == ended


def test_nobody_runs_beside_a_living_run() -> None:
    assert begin(running(), "b", LEASE - 1, LEASE, most_losses=5) == (running(), Verdict.BUSY)
    assert begin(running(), "b", LEASE, LEASE, most_losses=5)[1] is Verdict.RUN
    assert begin(running(), "b", 0, LEASE, most_losses=5, dead="a")[1] is Verdict.RUN


def test_the_same_begin_twice_is_one_attempt() -> None:
    once, _ = begin(State(), "a", 0, LEASE, most_losses=5)
    twice, verdict = begin(once, "a", 0, LEASE, most_losses=5)
    assert (twice, verdict) == (once, Verdict.RUN)


@pytest.mark.parametrize("lost", [running(repeatable=False), running(losses=4)])
def test_a_lost_run_that_may_not_be_repeated_fails(lost: State) -> None:
    after, verdict = begin(lost, "b", LEASE, LEASE, most_losses=5)
    assert (after.status, after.attempts, verdict) == (Status.FAILED, 1, Verdict.ENDED)


def test_a_run_that_was_taken_over_ends_nothing() -> None:
    taken, _ = begin(running(), "b", LEASE, LEASE, most_losses=5)
    assert end(taken, "a", Status.COMPLETED) == (taken, False)
    assert put_back(taken, "a") == (taken, False)


def test_cancelling_waits_for_the_run() -> None:
    asked = cancel(running())
    assert (asked.status, asked.cancelling) == (Status.RUNNING, True)
    assert end(asked, "a", Status.COMPLETED)[0].status is Status.COMPLETED
    assert begin(asked, "b", LEASE, LEASE, most_losses=5)[0].status is Status.CANCELLED
    assert put_back(asked, "a")[0].status is Status.CANCELLED
    assert cancel(State()).status is Status.CANCELLED
    between, _ = put_back(running(), "a")
    assert cancel(between).status is Status.CANCELLED
