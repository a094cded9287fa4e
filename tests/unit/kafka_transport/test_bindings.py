import pytest

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
    assert queues.matching(Envelope(b"", exchange="pidbox")) == ["mine"]
    assert queues.matching(Envelope(b"", exchange="", routing_key="other")) == ["other"]
    assert queues.exchanges() == {"", "pidbox"}
    queues.unbind(Binding("pidbox", "", "mine"))
    assert queues.matching(Envelope(b"", exchange="pidbox")) == []
