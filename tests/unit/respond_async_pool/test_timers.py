"""Calls made at their time."""

import threading

from respond_async.pool.timers import Timers
from tests.support.waiting import wait_until


def test_calls_are_made_in_the_order_of_their_times() -> None:
    timers = Timers()
    made: list[str] = []
    timers.after(0.1, made.append, "second")
    timers.after(0.05, made.append, "first")
    wait_until(lambda: made == ["first", "second"], within=5, what="both calls")
    timers.stop()


def test_a_cancelled_call_is_not_made_and_is_let_go_of() -> None:
    timers = Timers()
    done = threading.Event()
    cancelled = [timers.after(3600, done.set) for _ in range(5000)]
    for each in cancelled:
        timers.cancel(each)
    assert len(timers) < 1500
    timers.after(0, done.set)
    assert done.wait(5)
    timers.stop()


def test_a_call_that_fails_does_not_keep_the_others_from_theirs() -> None:
    timers = Timers()
    done = threading.Event()
    timers.after(0, lambda: 1 / 0)
    timers.after(0.01, done.set)
    assert done.wait(5)
    timers.stop()
