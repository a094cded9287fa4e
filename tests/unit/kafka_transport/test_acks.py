import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kafka_transport.acks import PartitionAcks
from kafka_transport.commit_metadata import METADATA_BYTES, decode_metadata, encode_metadata


def assigned(offset: int | None = None, metadata: str = "") -> PartitionAcks:
    acks = PartitionAcks()
    acks.assign(offset, metadata)
    return acks


def test_only_the_contiguous_prefix_is_committed() -> None:
    acks = assigned(0)
    for offset in range(5):
        assert acks.receive(offset, 0)
    acks.ack(0)
    acks.ack(1)
    acks.ack(3)
    commit = acks.to_commit()
    assert commit is not None
    assert commit.offset == 2
    assert decode_metadata(2, commit.metadata) == ({3}, {})


def test_gaps_between_offsets_are_nothing_to_wait_for() -> None:
    acks = assigned(0)
    for offset in (0, 7, 9):
        acks.receive(offset, 0)
    acks.ack(0)
    acks.ack(7)
    commit = acks.to_commit()
    assert commit is not None
    assert commit.offset == 9


def test_a_new_group_commits_where_it_began_before_anything_is_acked() -> None:
    acks = assigned(None)
    assert acks.to_commit() is None
    acks.receive(40, 0)
    commit = acks.to_commit()
    assert commit is not None
    assert commit.offset == 40


def test_what_is_committed_is_not_committed_again() -> None:
    acks = assigned(0)
    acks.receive(0, 0)
    acks.ack(0)
    commit = acks.to_commit()
    assert commit is not None
    acks.committed(commit)
    assert acks.to_commit() is None


def test_a_message_still_running_is_not_delivered_again_when_its_partition_comes_back() -> None:
    acks = assigned(0)
    assert acks.receive(0, 11)
    acks.assign(0, "")
    assert not acks.receive(0, 11)
    acks.ack(0)
    commit = acks.to_commit()
    assert commit is not None
    assert commit.offset == 1


def test_a_message_acked_while_its_partition_was_away_is_not_delivered_again() -> None:
    acks = assigned(0)
    acks.receive(0, 11)
    acks.receive(1, 11)
    acks.ack(1)
    acks.assign(0, "")
    assert not acks.receive(0, 11)
    assert not acks.receive(1, 11)


def test_a_message_acked_whose_commit_was_lost_is_not_delivered_again() -> None:
    acks = assigned(None)
    acks.receive(0, 11)
    acks.receive(1, 11)
    acks.ack(0)
    acks.ack(1)
    assert acks.to_commit() is not None
    acks.assign(None, "")
    assert not acks.receive(0, 11)
    assert not acks.receive(1, 11)
    commit = acks.to_commit()
    assert commit is not None
    assert commit.offset == 2


def test_records_of_a_topic_made_again_are_all_delivered() -> None:
    acks = assigned(None)
    acks.receive(0, 11)
    acks.receive(1, 11)
    acks.ack(0)
    acks.ack(1)
    acks.to_commit()
    acks.assign(None, "")
    assert acks.receive(0, 99)
    assert acks.receive(1, 99)


def test_another_record_at_the_same_offset_is_delivered() -> None:
    acks = assigned(0)
    assert acks.receive(0, 11)
    acks.assign(0, "")
    assert acks.receive(0, 12)


def test_a_message_dropped_unseen_is_delivered_when_it_comes_again() -> None:
    acks = assigned(0)
    acks.receive(0, 11)
    acks.forget(0)
    assert acks.running == 0
    acks.assign(0, "")
    assert acks.receive(0, 11)


def test_how_far_a_partition_runs_ahead_of_its_oldest_message() -> None:
    acks = assigned(0)
    for offset in range(100):
        acks.receive(offset, 0)
    for offset in range(1, 100):
        acks.ack(offset)
    assert acks.ahead == 100
    acks.ack(0)
    assert acks.ahead == 0


@given(
    st.integers(0, 2**40),
    st.sets(st.integers(0, 20_500)),
    st.dictionaries(st.integers(0, 20_500), st.integers(1, 300), max_size=200),
)
def test_metadata_reads_back(position: int, done: set[int], begun: dict[int, int]) -> None:
    done = {position + offset for offset in done}
    begun = {position + offset: n for offset, n in begun.items()}
    text = encode_metadata(position, done, begun)
    assert len(text) <= METADATA_BYTES
    assert decode_metadata(position, text) in [(done, begun), (done, {})]


@settings(deadline=None)
@given(st.sets(st.integers(0, 10**7), max_size=3000))
def test_metadata_never_exceeds_what_a_broker_takes(done: set[int]) -> None:
    text = encode_metadata(0, done, dict.fromkeys(range(0, 5000, 3), 2))
    assert len(text) <= METADATA_BYTES
    assert decode_metadata(0, text)[0] <= done


@pytest.mark.parametrize(
    "text", ["", "x", "k2:", "k2:!!!", "k2:AAAA", "k1:eJw=", "k2:eJxjAAAAAQAB"]
)
def test_what_another_program_wrote_counts_as_nothing(text: str) -> None:
    assert decode_metadata(5, text) == (set(), {})


def test_how_often_a_message_was_delivered_survives_a_crash() -> None:
    acks = assigned(None)
    for offset in range(3):
        acks.receive(offset, 0)
    acks.begin(0)
    acks.begin(1)
    acks.ack(0)
    commit = acks.to_commit()
    assert commit is not None
    again = assigned(*commit)
    assert again.receive(1, 0)
    assert again.deliveries(1) == 1
    again.begin(1)
    assert again.deliveries(1) == 2
    assert again.deliveries(2) == 0


Life = tuple[list[int], bool]


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[int], list[Life]]:
    """Offsets with gaps; for each assignment the indexes acked in it, and if its commit is lost."""
    gaps = draw(st.lists(st.integers(1, 4), min_size=1, max_size=40))
    offsets = [sum(gaps[: i + 1]) - 1 for i in range(len(gaps))]
    acked = st.lists(st.integers(0, len(offsets) - 1), max_size=20)
    return offsets, draw(st.lists(st.tuples(acked, st.booleans()), min_size=1, max_size=6))


@given(histories(), st.booleans())
def test_nothing_is_lost_and_nothing_committed_runs_again(
    history: tuple[list[int], list[Life]], same_process: bool
) -> None:
    offsets, lives = history
    finished: set[int] = set()
    finished_and_stored: set[int] = set()
    running: set[int] = set()
    stored: tuple[int | None, str] = (None, "")
    acks = PartitionAcks()
    for to_ack, commit_lost in lives:
        if not same_process:
            acks, running, finished = PartitionAcks(), set(), set(finished_and_stored)
        acks.assign(*stored)
        delivered = {o for o in offsets if o >= (stored[0] or 0) and acks.receive(o, timestamp=o)}
        expected = set(offsets) - finished - running
        assert delivered == expected
        running |= delivered
        for index in to_ack:
            if offsets[index] in running:
                acks.ack(offsets[index])
                running.discard(offsets[index])
                finished.add(offsets[index])
        commit = acks.to_commit()
        if commit is not None:
            assert all(o in finished for o in offsets if o < commit.offset)
            assert decode_metadata(*commit)[0] <= finished
            if not commit_lost:
                acks.committed(commit)
                stored = (commit.offset, commit.metadata)
                finished_and_stored = set(finished)
