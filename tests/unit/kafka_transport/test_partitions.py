"""Partitions of a consumer: which of them have messages that are not done."""

from hypothesis import given
from hypothesis import strategies as st

from kafka_transport.partitions import Partitions, Place

PLACES: list[Place] = [("a", 0), ("a", 1), ("b", 0)]


@given(
    st.lists(st.tuples(st.sampled_from(["receive", "settle", "forget", "assign"]), st.sampled_from(PLACES)))
)  # fmt: skip
def test_none_that_is_unfinished_is_missed(steps: list[tuple[str, Place]]) -> None:
    partitions = Partitions()
    received: dict[Place, list[int]] = {place: [] for place in PLACES}
    for place in PLACES:
        partitions.assign(place, 0, "")
    offset = 0
    for what, place in steps:
        if what == "receive":
            partitions.receive(place, offset, timestamp=1)
            received[place].append(offset)
            offset += 1
        elif what == "assign":
            partitions.assign(place, min(received[place], default=0), "")
        elif received[place]:
            getattr(partitions, what)(place, received[place].pop())
        partitions.apply()
        unfinished = partitions.unfinished()
        for each in PLACES:
            assert (each in unfinished) or partitions.ahead(each) == 0
        assert not partitions.running or unfinished
