import select

from kafka_transport.delivery import Delivery
from kafka_transport.inbox import Inbox
from kafka_transport.wire import Envelope


def delivery(queue: str, body: bytes = b"") -> Delivery:
    return Delivery(queue, Envelope(body), origin=("t", 0))


def readable(inbox: Inbox) -> bool:
    poller = select.poll()
    poller.register(inbox.fileno(), select.POLLIN)
    return bool(poller.poll(0))


def test_the_descriptor_is_readable_while_something_was_put() -> None:
    inbox = Inbox()
    assert not readable(inbox)
    inbox.put([delivery("q"), delivery("q")])
    inbox.ring()
    assert readable(inbox)
    inbox.hush()
    assert not readable(inbox)
    inbox.ring()
    assert readable(inbox)
    assert inbox.waiting() == 2
    inbox.close()


def test_control_messages_overtake_tasks() -> None:
    inbox = Inbox()
    inbox.open("tasks", 1, key_order=False).put([delivery("tasks")])
    inbox.put([delivery("pidbox")])
    assert list(inbox.queues()) == ["pidbox", "tasks"]


def test_queues_take_turns() -> None:
    inbox = Inbox()
    inbox.open("a", 1, key_order=False).put([delivery("a", b"1"), delivery("a", b"2")])
    inbox.open("b", 1, key_order=False).put([delivery("b", b"3")])
    order = []
    while queues := inbox.queues():
        taken = inbox.take(queues[0])
        assert taken is not None
        order.append(taken.envelope.body)
    assert order == [b"1", b"3", b"2"]


def test_what_is_put_back_is_the_next_one() -> None:
    inbox = Inbox()
    inbox.open("a", 1, key_order=False).put([delivery("a", b"1"), delivery("a", b"2")])
    first = inbox.take("a")
    assert first is not None
    assert inbox.put_back(first)
    assert inbox.take("a") is first
    assert not inbox.put_back(delivery("gone"))


def test_a_closed_inbox_can_still_be_rung() -> None:
    inbox = Inbox()
    inbox.close()
    inbox.ring()
    inbox.hush()
