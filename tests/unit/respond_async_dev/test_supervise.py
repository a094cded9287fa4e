"""The rule of restarts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from respond_async.dev.supervise import RESTART_INTERVAL_SECONDS, next_start

seconds = st.floats(min_value=0, max_value=1e6)


@given(lived=seconds)
def test_a_worker_that_ended_well_gets_a_successor_but_never_in_a_hot_loop(lived: float) -> None:
    pause = next_start(0, lived, restarts=True)
    assert pause is not None
    assert pause >= 0
    assert lived + pause == pytest.approx(max(lived, RESTART_INTERVAL_SECONDS))


@given(code=st.integers(-64, 255).filter(bool), lived=seconds, restarts=st.booleans())
def test_a_child_that_failed_gets_none(code: int, lived: float, *, restarts: bool) -> None:
    assert next_start(code, lived, restarts=restarts) is None


@given(code=st.integers(-64, 255), lived=seconds)
def test_a_child_that_should_not_end_gets_none_however_it_ended(code: int, lived: float) -> None:
    assert next_start(code, lived, restarts=False) is None
