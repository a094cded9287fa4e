from hypothesis import given
from hypothesis import strategies as st

from kafka_transport.buffer import Buffer
from kafka_transport.delivery import Delivery
from kafka_transport.wire import Envelope


def delivery(offset: int, *, lane: int = 0, key: bytes | None = None, topic: str = "t") -> Delivery:
    return Delivery("q", Envelope(b""), (topic, 0), offset, lane=lane, key=key)


def test_the_highest_lane_comes_first() -> None:
    buffer = Buffer(3)
    buffer.put([delivery(0), delivery(1, lane=2), delivery(2, lane=1), delivery(3, lane=2)])
    order = []
    while (taken := buffer.take()) is not None:
        order.append(taken.offset)
    assert order == [1, 3, 2, 0]


def test_what_is_put_back_comes_before_the_rest_of_its_lane() -> None:
    buffer = Buffer(2)
    buffer.put([delivery(0), delivery(1)])
    first = buffer.take()
    assert first is not None
    buffer.put_back(first)
    assert buffer.take() is first


def test_one_message_of_a_key_at_a_time_and_other_keys_beside_it() -> None:
    buffer = Buffer(key_order=True)
    buffer.put([delivery(0, key=b"a"), delivery(1, key=b"a"), delivery(2, key=b"b"), delivery(3)])
    taken = [buffer.take() for _ in range(4)]
    assert [t.offset if t else None for t in taken] == [0, 2, 3, None]
    assert buffer.held == 1
    assert taken[0] is not None
    assert taken[0].settle()
    following = buffer.take()
    assert following is not None
    assert following.offset == 1
    assert not following.settle()
    assert len(buffer) == 0


def test_without_key_order_keys_mean_nothing() -> None:
    buffer = Buffer()
    buffer.put([delivery(0, key=b"a"), delivery(1, key=b"a")])
    assert buffer.take() is not None
    assert buffer.take() is not None


def test_what_waited_behind_a_key_goes_with_its_partition() -> None:
    buffer = Buffer(key_order=True)
    buffer.put([delivery(i, key=b"a") for i in range(3)])
    buffer.put([delivery(0, key=b"b", topic="u")])
    dropped = buffer.discard(lambda d: d.origin == ("t", 0))
    assert sorted(d.offset for d in dropped) == [0, 1, 2]
    assert len(buffer) == 1
    buffer.put([delivery(7, key=b"a")])
    assert {d.offset for d in (buffer.take(), buffer.take()) if d is not None} == {0, 7}


Step = tuple[str, int, int]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["put", "take", "done", "revoke"]), st.integers(0, 3), st.integers(0, 2)
        ),
        max_size=80,
    )
)
def test_keys_run_in_order_one_at_a_time_and_nothing_is_lost(steps: list[Step]) -> None:
    buffer = Buffer(3, key_order=True)
    running: list[Delivery] = []
    waiting: list[Delivery] = []
    for offset, (what, key, lane) in enumerate(steps):
        if what == "put":
            new = delivery(offset, lane=lane, key=b"%d" % key if key else None, topic=f"t{key % 2}")
            buffer.put([new])
            waiting.append(new)
        elif what == "take":
            taken = buffer.take()
            free = [w for w in waiting if w.key is None or w.key not in {r.key for r in running}]
            first_of_key = [
                w for w in free if w.key is None or w is next(x for x in free if x.key == w.key)
            ]
            assert (taken is None) == (not first_of_key)
            if taken is not None:
                assert taken in first_of_key
                assert taken.lane == max(w.lane for w in first_of_key)
                waiting.remove(taken)
                running.append(taken)
        elif what == "done" and running:
            running.pop(key % len(running)).settle()
        elif what == "revoke":
            gone = (f"t{key % 2}", 0)
            dropped = buffer.discard(lambda d, gone=gone: d.origin == gone)  # type: ignore[misc]
            assert set(map(id, dropped)) == {id(w) for w in waiting if w.origin == gone}
            waiting = [w for w in waiting if w.origin != gone]
        assert len(buffer) == len(waiting)
    for one in running:
        one.settle()
    rest = []
    while (taken := buffer.take()) is not None:
        taken.settle()
        rest.append(taken)
    assert set(map(id, rest)) == set(map(id, waiting))
