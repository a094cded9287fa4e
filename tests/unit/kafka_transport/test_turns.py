"""Turns of a topic's partitions: even shares, and runs in a burst."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from kafka_transport.turns import LONGEST_RUN, Turns


def taken(turns: Turns, partitions: int, records: int, *, apart: float, start: float) -> list[int]:
    return [turns.take(partitions, start + apart * number) for number in range(records)]


def runs_of(partitions: list[int]) -> list[int]:
    """The lengths of the runs that ended."""
    ends = [i for i in range(1, len(partitions)) if partitions[i] != partitions[i - 1]]
    return [end - begin for begin, end in zip([0, *ends[:-1]], ends, strict=True)]


def test_a_few_records_go_to_each_partition_in_turn() -> None:
    assert taken(Turns(), 16, 32, apart=1e-4, start=9.0) == [*range(16)] * 2


def test_records_that_come_one_by_one_go_to_each_partition_in_turn() -> None:
    turns = Turns()
    taken(turns, 4, 5_000, apart=1e-4, start=9.0)
    later = taken(turns, 4, 50, apart=0.02, start=99.0)
    assert set(runs_of(later)) == {1}


def test_a_long_burst_goes_in_runs() -> None:
    runs = runs_of(taken(Turns(), 16, 5_000, apart=1e-4, start=9.0))
    assert runs[:32] == [1] * 32
    assert set(runs[-10:]) == {LONGEST_RUN}


def test_a_run_is_no_longer_than_what_is_sent_together() -> None:
    runs = runs_of(taken(Turns(), 4, 1_000, apart=0.004, start=9.0))
    assert max(runs) <= 3


@given(
    partitions=st.integers(1, 20),
    pieces=st.lists(
        st.tuples(st.integers(1, 400), st.floats(1e-5, 0.02), st.floats(0.0, 1.0)), max_size=6
    ),
)
def test_no_partition_is_ahead_by_more_than_a_quarter_of_its_share(
    partitions: int, pieces: list[tuple[int, float, float]]
) -> None:
    turns, now, shares = Turns(), 9.0, Counter(dict.fromkeys(range(partitions), 0))
    for records, apart, silence in pieces:
        for partition in taken(turns, partitions, records, apart=apart, start=now):
            shares[partition] += 1
        now += records * apart + silence
        most, least = max(shares.values()), min(shares.values())
        assert most - least <= 2 + most / 3 + 1, shares
