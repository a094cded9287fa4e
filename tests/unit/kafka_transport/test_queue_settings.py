"""What a queue and a member are declared with."""

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafka_transport.arguments import QueueArguments
from kafka_transport.config import Options
from kafka_transport.errors import InvalidOption
from kafka_transport.expiry import is_expired
from kafka_transport.lanes import QueueTopics, lane_topic
from kafka_transport.membership import group_properties, instance_id
from kafka_transport.names import queue_topic
from kafka_transport.wire import Envelope


def test_arguments_are_read_under_rabbitmqs_names() -> None:
    arguments = QueueArguments.of(
        {"x-max-priority": 5, "x-message-ttl": 100, "x-expires": 7, "x-key-order": True, "x-queue-type": "quorum"}
    )  # fmt: skip
    expected = QueueArguments(max_priority=5, message_ttl=100, expires=7, key_order=True)
    assert arguments == expected
    assert QueueArguments.of({"x-max-priority": 255}).max_priority == 9
    assert QueueArguments.of(None) == QueueArguments()


@pytest.mark.parametrize(
    "bad",
    [{"x-max-priority": -1}, {"x-message-ttl": "1"}, {"x-expires": 0}, {"x-key-order": "yes"}],
)
def test_an_argument_that_cannot_be_used_is_named(bad: dict[str, object]) -> None:
    with pytest.raises(InvalidOption, match=next(iter(bad))):
        QueueArguments.of(bad)


@pytest.mark.parametrize("lane", range(1, 10))
def test_a_lanes_name_is_no_queues(lane: int) -> None:
    assert queue_topic(lane_topic("q", lane)) != lane_topic("q", lane)
    assert queue_topic("q.p10") == "q.p10"


@given(st.integers(1, 20), st.lists(st.integers(1, 40), max_size=9), st.integers(0, 30))
def test_every_partition_of_every_lane_follows_exactly_one(
    main: int, lanes: list[int], delays: int
) -> None:
    named = tuple((lane_topic("q", lane), n) for lane, n in enumerate([main, *lanes]))
    topics = QueueTopics(named, ("q.delay", delays))
    followers = [place for partition in range(main) for place in topics.followers(partition)]
    expected = [(t, p) for t, n in (*named[1:], ("q.delay", delays)) for p in range(n)]
    assert sorted(followers) == sorted(expected)


def test_a_priority_above_the_highest_lane_is_the_highest() -> None:
    topics = QueueTopics((("q", 1), ("q.p1", 1), ("q.p2", 1)))
    assert [topics.lane_for(p) for p in (None, -1, 0, 1, 2, 9, "x")] == [0, 0, 0, 1, 2, 2, 0]


@pytest.mark.parametrize(
    ("expiration", "ttl", "age", "expected"),
    [
        (None, None, 10**9, False),
        ("100", None, 99, False),
        ("100", None, 100, True),
        (None, 100, 100, True),
        ("50", 100, 60, True),
        ("100", 50, 60, True),
        ("soon", None, 10**9, False),
    ],
)
def test_the_shorter_of_two_lives_counts(
    expiration: str | None, ttl: int | None, age: int, expected: bool
) -> None:
    properties = {} if expiration is None else {"expiration": expiration}
    envelope = Envelope(b"", properties=properties, timestamp=1_000_000)
    assert is_expired(envelope, ttl, now=(1_000_000 + age) / 1000) is expected


def test_a_static_member_is_named_by_its_host() -> None:
    assert instance_id("worker-%h-50%%") == f"worker-{socket.gethostname()}-50%"
    with pytest.raises(InvalidOption, match="%x"):
        instance_id("%x")
    assert "group.instance.id" not in group_properties(Options())
    static = Options(group_instance_id="a")
    assert group_properties(static)["group.instance.id"] == "a"
    assert "group.instance.id" not in group_properties(static, passing=True)


def test_the_newer_protocol_is_given_none_of_the_classic_ones_properties() -> None:
    properties = group_properties(Options(group_protocol="consumer"))
    assert properties["group.protocol"] == "consumer"
    assert "session.timeout.ms" not in properties
    with pytest.raises(InvalidOption, match="group_protocol"):
        Options.of({"group_protocol": "share"})
