"""Queues and exchanges of any name have topics of their own, whose names Kafka takes."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kafka_transport import InvalidName
from kafka_transport.delays import delay_topic
from kafka_transport.names import exchange_topic, queue_of, queue_topic
from kafka_transport.topics import dead_letter_topic

LEGAL = re.compile(r"[A-Za-z0-9._-]{1,249}")

#: Names made of what is hard: escapes, suffixes, ends of names that were cut.
pieces = st.sampled_from(
    [
        *"_x.-h0a5fA :/é",
        *("_x5f_", "_x", "5f_", ".delay", "_delay", ".dlq", ".exchange", "dela", "y"),
        *(".p0", "_p", "9", "h" + "0" * 32, "0" * 32, "b" * 120),
    ]
)
names = st.one_of(st.text(min_size=1), st.lists(pieces, min_size=1, max_size=8).map("".join))
prefixes = st.sampled_from(["", "dev.", "x" * 100])


@pytest.mark.parametrize(
    "name",
    ["celery", "a.b", "a_b", "A-1", "high_priority", "my_xml", "x.delayed", "p1", "dlq"],
)
def test_an_ordinary_name_stays_as_it_is(name: str) -> None:
    assert queue_topic(name) == name
    assert queue_topic(name, "dev.") == f"dev.{name}"


@pytest.mark.parametrize(
    ("queue", "topic"),
    [
        ("celery@host", "celery_x40_host"),
        ("with space", "with_x20_space"),
        ("a/b:c", "a_x2f_b_x3a_c"),
        ("ä", "_xe4_"),
        ("..", "_x2e_."),
        ("__consumer_offsets", "_x5f__consumer_offsets"),
        ("tasks.delay", "tasks.dela_x79_"),
        ("tasks_p1", "tasks_p_x31_"),
        ("a_x20_b", "a_x5f_x20_b"),
    ],
)
def test_what_kafka_does_not_take_is_escaped(queue: str, topic: str) -> None:
    assert queue_topic(queue) == topic
    assert queue_of(topic) == queue


@given(names, prefixes)
@example("x" * 300, "")
@example("\ud800" * 100, "")
def test_every_name_gives_a_legal_topic_that_is_no_other_topic_of_ours(
    name: str, prefix: str
) -> None:
    topic = queue_topic(name, prefix)
    for made in (topic, f"{topic}.p9", delay_topic(topic), dead_letter_topic(topic)):
        assert LEGAL.fullmatch(made)
    assert LEGAL.fullmatch(exchange_topic(name, prefix))
    assert topic not in (".", "..")
    assert not queue_topic(name).startswith("__")
    assert not re.search(r"[._](delay|dlq|exchange|p[0-9])$", topic)


@given(names, names)
@example("a b", "a_x20_b")
@example("_x2é", "\x02xe9_")
@example("default", "")
def test_two_names_never_share_a_topic(one: str, other: str) -> None:
    if one != other:
        assert exchange_topic(one) != exchange_topic(other)
        if one and other:
            assert queue_topic(one) != queue_topic(other)


@given(names, prefixes)
def test_a_topic_tells_its_queue(name: str, prefix: str) -> None:
    known = queue_of(queue_topic(name, prefix), prefix)
    assert known is not None
    if known != name:
        assert known.endswith("...")
        assert len(name) > 20


def test_what_is_no_queues_topic_is_said_to_be_none() -> None:
    for topic in ("q.delay", "q.dlq", "celeryev.exchange", "__consumer_offsets"):
        assert queue_of(topic) is None
    assert queue_of("other.q", "dev.") is None


def test_the_topics_of_exchanges() -> None:
    assert exchange_topic("celeryev") == "celeryev.exchange"
    assert exchange_topic("") == "default.exchange"
    assert exchange_topic("a b") == "a_x20_b.exchange"


def test_a_durable_queue_needs_a_name() -> None:
    with pytest.raises(InvalidName, match="name"):
        queue_topic("")
