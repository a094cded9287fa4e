import re

import pytest
from amqp.exceptions import PreconditionFailed
from hypothesis import given, settings
from hypothesis import strategies as st

from kafka_transport import InvalidOption
from kafka_transport.arguments import QueueArguments
from kafka_transport.bindings import Binding, Bindings, matches
from kafka_transport.transient import TransientQueues
from kafka_transport.wire import Envelope


@pytest.mark.parametrize(
    ("pattern", "key", "expected"),
    [
        ("a.b", "a.b", True),
        ("a.b", "a.c", False),
        ("a.*", "a.b", True),
        ("a.*", "a", False),
        ("a.*", "a.b.c", False),
        ("#", "", True),
        ("#", "a.b.c", True),
        ("a.#", "a", True),
        ("a.#", "a.b.c", True),
        ("a.#", "ab", False),
        ("#.b", "b", True),
        ("#.b", "a.a.b", True),
        ("a.#.b", "a.b", True),
        ("a.#.b", "a.x.y.b", True),
        ("*.#", "", False),
        ("a+b", "aab", False),
    ],
)
def test_topic_patterns_match_as_amqp_says(pattern: str, key: str, expected: bool) -> None:
    assert matches("topic", pattern, key) is expected


def test_fanout_takes_everything_and_direct_only_its_key() -> None:
    assert matches("fanout", "x", "y")
    assert matches("direct", "x", "x")
    assert not matches("direct", "x", "y")


def test_each_queue_gets_a_message_once() -> None:
    bindings = Bindings()
    bindings.declare_exchange("news", "topic")
    bindings.bind(Binding("news", "a.*", "q"))
    bindings.bind(Binding("news", "#", "q"))
    bindings.bind(Binding("other", "#", "r"))
    assert bindings.queues("news", "a.b") == ["q"]


def test_an_exchange_type_that_is_not_there_is_refused_by_name() -> None:
    with pytest.raises(InvalidOption, match="headers"):
        Bindings().declare_exchange("x", "headers")


def test_a_deleted_queue_is_bound_no_more() -> None:
    bindings = Bindings()
    bindings.bind(Binding("e", "k", "q"))
    bindings.delete_queue("q")
    assert bindings.queues("e", "k") == []


def test_transient_queues_are_matched_by_their_own_bindings() -> None:
    exchanges = Bindings()
    exchanges.declare_exchange("pidbox", "fanout")
    queues = TransientQueues(exchanges)
    queues.declare("mine", QueueArguments(), auto_delete=True)
    queues.declare("other", QueueArguments(), auto_delete=True)
    queues.bind(Binding("pidbox", "", "mine"))

    def heard_by(envelope: Envelope) -> list[str]:
        return [delivery.queue for delivery in queues.deliveries(envelope)]

    assert heard_by(Envelope(b"", exchange="pidbox")) == ["mine"]
    assert heard_by(Envelope(b"", exchange="", routing_key="other")) == ["other"]
    assert queues.exchanges() == {"", "pidbox"}
    queues.unbind(Binding("pidbox", "", "mine"))
    assert heard_by(Envelope(b"", exchange="pidbox")) == []


def test_what_one_consumer_does_to_its_message_is_not_seen_by_another() -> None:
    exchanges = Bindings()
    exchanges.declare_exchange("news", "fanout")
    queues = TransientQueues(exchanges)
    for name in ("one", "two"):
        queues.declare(name, QueueArguments(), auto_delete=True)
        queues.bind(Binding("news", "", name))
    said = Envelope(b"", exchange="news", headers={"a": [1]}, properties={"b": {}})
    one, two = (delivery.envelope for delivery in queues.deliveries(said))
    one.headers["a"].append(2)
    one.properties["b"]["c"] = 3
    assert (two.headers, two.properties) == ({"a": [1]}, {"b": {}})


def as_a_regular_expression(pattern: str, key: str) -> bool:
    """AMQP 0-9-1, 3.1.3.3, another way: every word is written with a dot before it."""
    parts = {"*": r"\.[^.]*", "#": r"(?:\.[^.]*)*"}
    expression = "".join(parts.get(w, re.escape("." + w)) for w in pattern.split(".") if pattern)
    return re.fullmatch(expression, "." + key if key else "") is not None


words = st.sampled_from(["a", "b", "a+", "", "ab"])
keys = st.lists(words, max_size=6).map(".".join)
patterns = st.lists(st.one_of(words, st.sampled_from("*#")), max_size=6).map(".".join)


@settings(deadline=None)
@given(patterns, keys)
def test_any_topic_pattern_matches_as_its_regular_expression_does(pattern: str, key: str) -> None:
    assert matches("topic", pattern, key) is as_a_regular_expression(pattern, key)


changes = st.lists(
    st.tuples(
        st.sampled_from(["bind", "unbind", "delete_queue", "delete_exchange"]),
        st.builds(
            Binding,
            st.sampled_from(["e", "f"]),
            st.sampled_from(["a.b", "a.*", "#"]),
            st.sampled_from(["q", "r", "s"]),
        ),
    ),
    max_size=20,
)


@settings(deadline=None)
@given(st.sampled_from(["direct", "topic", "fanout"]), changes, st.sampled_from(["a.b", "a.c"]))
def test_a_queue_gets_a_message_exactly_if_a_binding_of_its_is_left_that_takes_it(
    kind: str, steps: list[tuple[str, Binding]], key: str
) -> None:
    table = Bindings()
    left: set[Binding] = set()
    for step, binding in steps:
        table.declare_exchange(binding.exchange, kind)
        if step == "bind":
            table.bind(binding)
            left.add(binding)
        elif step == "unbind":
            table.unbind(binding)
            left.discard(binding)
        elif step == "delete_queue":
            table.delete_queue(binding.queue)
            left = {b for b in left if b.queue != binding.queue}
        else:
            table.delete_exchange(binding.exchange)
            table.declare_exchange(binding.exchange, kind)
            left = {b for b in left if b.exchange != binding.exchange}
    expected = {b.queue for b in left if b.exchange == "e" and matches(kind, b.routing_key, key)}
    got = table.queues("e", key)
    assert len(got) == len(set(got))
    assert set(got) == expected


def test_an_exchange_keeps_its_type_until_it_is_deleted() -> None:
    table = Bindings()
    table.declare_exchange("e", "topic")
    table.declare_exchange("e", "topic")
    with pytest.raises(PreconditionFailed, match="'e' is declared as direct and is topic"):
        table.declare_exchange("e", "direct")
    table.delete_exchange("e")
    table.declare_exchange("e", "direct")
    assert table.kind("e") == "direct"
