import select

from kafka_transport.inbox import Delivery, Inbox
from kafka_transport.wire import Envelope


def delivery(queue: str, body: bytes = b"") -> Delivery:
    return Delivery(queue, Envelope(body), origin=("t", 0))


def readable(inbox: Inbox) -> bool:
    return bool(select.select([inbox.fileno()], [], [], 0)[0])


def test_the_descriptor_is_readable_while_something_was_put() -> None:
    inbox = Inbox()
    assert not readable(inbox)
    inbox.put([delivery("q"), delivery("q")], control=False)
    assert readable(inbox)
    inbox.hush()
    assert not readable(inbox)
    assert inbox.waiting(control=False) == 2
    inbox.close()


def test_control_messages_overtake_tasks() -> None:
    inbox = Inbox()
    inbox.put([delivery("tasks")], control=False)
    inbox.put([delivery("pidbox")], control=True)
    assert list(inbox.queues()) == ["pidbox", "tasks"]


def test_queues_take_turns() -> None:
    inbox = Inbox()
    inbox.put([delivery("a", b"1"), delivery("a", b"2"), delivery("b", b"3")], control=False)
    order = []
    while queues := list(inbox.queues()):
        taken = inbox.take(queues[0])
        assert taken is not None
        order.append(taken.envelope.body)
    assert order == [b"1", b"3", b"2"]


def test_what_is_discarded_unseen_is_given_back() -> None:
    inbox = Inbox()
    given_back: list[str] = []
    first = delivery("q", b"1")
    first.drop = lambda: given_back.append("1")
    inbox.put([first, delivery("q", b"2")], control=False)
    assert inbox.discard(lambda d: d.envelope.body == b"1") == 1
    assert given_back == ["1"]
    assert inbox.waiting_in("q") == 1


def test_a_closed_inbox_can_still_be_rung() -> None:
    inbox = Inbox()
    inbox.close()
    inbox.ring()
    inbox.hush()
