from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafka_transport.delays import LEVELS, due_time, level_for, rest_seconds


@given(st.floats(1, 10**9), st.integers(1, LEVELS))
def test_a_message_is_never_late_and_comes_nearer_with_each_step(
    seconds: float, partitions: int
) -> None:
    left, steps = seconds, 0
    while (level := level_for(left, partitions)) is not None and steps < 60:
        assert 0 <= level < partitions
        assert 2**level <= left
        left -= 2**level
        steps += 1
    assert left >= 0


def test_a_delay_takes_few_steps() -> None:
    left, steps = 30 * 86400.0, 0
    while (level := level_for(left)) is not None:
        left -= 2**level
        steps += 1
    assert steps <= 22


def test_a_partition_rests_for_less_than_its_messages_wait() -> None:
    rests = [rest_seconds(level) for level in range(LEVELS)]
    assert rests[0] == 0 < max(rests)
    # Beside the rest itself: an idle look for records, and a fetch that is under way.
    assert all(rest + 3 < 2**level for level, rest in enumerate(rests) if rest)


@pytest.mark.parametrize("eta", [None, "", "soon", 12, {}])
def test_a_message_without_a_readable_eta_is_due(eta: object) -> None:
    assert due_time({"eta": eta}) is None


def test_an_eta_without_a_zone_is_utc() -> None:
    moment = datetime(2030, 1, 1, 12, tzinfo=UTC)
    assert due_time({"eta": "2030-01-01T12:00:00"}) == moment.timestamp()
    assert due_time({"eta": "2030-01-01T14:00:00+02:00"}) == moment.timestamp()
    assert due_time({"eta": moment}) == moment.timestamp()
