from confluent_kafka import TIMESTAMP_CREATE_TIME, Message
from hypothesis import given
from hypothesis import strategies as st

from kafka_transport.delivery import Delivery, oldest_first
from kafka_transport.wire import Envelope


def delivery(partition: int, offset: int, published: int) -> Delivery:
    record = Message(
        topic="t", partition=partition, offset=offset, timestamp=(TIMESTAMP_CREATE_TIME, published)
    )
    return Delivery("q", Envelope(b""), ("t", partition), offset, record=record)


def places(deliveries: list[Delivery]) -> list[tuple[int, int]]:
    return [(each.origin[1], each.offset) for each in deliveries if each.origin is not None]


def test_what_was_published_first_is_delivered_first() -> None:
    came = [delivery(2, 0, 30), delivery(2, 1, 40), delivery(1, 0, 20), delivery(0, 0, 10)]
    assert places(oldest_first(came)) == [(0, 0), (1, 0), (2, 0), (2, 1)]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9))))
def test_a_partition_keeps_its_order_whatever_its_publishers_clocks_say(
    came: list[tuple[int, int]],
) -> None:
    deliveries = [delivery(p, offset, published) for offset, (p, published) in enumerate(came)]
    found = places(oldest_first(deliveries))
    assert sorted(found) == sorted(places(deliveries))
    for partition in range(4):
        mine = [offset for p, offset in found if p == partition]
        assert mine == sorted(mine)
