"""Messages of one key run in order, one at a time."""

import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
from kombu import Connection, Queue

from tests.integration.kafka_transport.conftest import Connect
from tests.support.messages import Collector
from tests.support.waiting import wait_until

pytestmark = pytest.mark.kafka

ORDERED = Queue("ordered", routing_key="ordered", queue_arguments={"x-key-order": True})


def publish(connection: Connection, key: str, number: int) -> None:
    connection.Producer().publish(
        [key, number], routing_key="ordered", declare=[ORDERED], partition_key=key
    )


def test_one_message_of_a_key_runs_at_a_time_and_other_keys_beside_it(connect: Connect) -> None:
    connection = connect()
    for number in range(3):
        for key in ("a", "b", "c"):
            publish(connection, key, number)
    collector = Collector(connection, ORDERED)
    collector.receive(3)
    collector.drain(1)
    assert sorted(collector.bodies) == [["a", 0], ["b", 0], ["c", 0]]
    next(m for m in collector.messages if m.payload[0] == "b").ack()
    collector.receive(4)
    collector.drain(0.5)
    assert collector.bodies[3:] == [["b", 1]]


def test_a_requeued_message_goes_behind_the_others_of_its_key(connect: Connect) -> None:
    connection = connect()
    for number in range(3):
        publish(connection, "a", number)
    collector = Collector(connection, ORDERED)
    collector.receive(1)
    collector.messages[0].requeue()
    for count in range(2, 5):
        collector.receive(count)
        collector.messages[-1].ack()
    assert collector.bodies == [["a", 0], ["a", 1], ["a", 2], ["a", 0]]


def test_a_rejected_message_lets_the_next_one_run(connect: Connect) -> None:
    connection = connect()
    for number in range(2):
        publish(connection, "a", number)
    collector = Collector(connection, ORDERED)
    collector.receive(1)
    collector.messages[0].reject()
    assert collector.receive(2) == [["a", 0], ["a", 1]]


def test_the_option_orders_every_queue_and_an_argument_overrides_it(connect: Connect) -> None:
    free = Queue("free", routing_key="free", queue_arguments={"x-key-order": False})
    plain = Queue("plain", routing_key="plain")
    connection = connect(key_order=True)
    for queue in (free, plain):
        for number in range(2):
            connection.Producer().publish(
                number, routing_key=queue.name, declare=[queue], partition_key="k"
            )
    assert sorted(Collector(connection, free).receive(2)) == [0, 1]
    collector = Collector(connection, plain)
    collector.receive(1)
    assert collector.drain(1) == [0]


WORKER = """
import json, os, random, sys, time
sys.path.insert(0, {root!r})
import kafka_transport
from kombu import Connection, Consumer
from tests.integration.kafka_transport.test_key_order import ORDERED
out = open({log!r}, "a", buffering=1)
connection = Connection({url!r}, transport_options=json.loads({options!r}))
pending = []
def begin(message):
    out.write(json.dumps(["begin", *message.payload, time.time()]) + "\\n")
    pending.append((time.monotonic() + random.random() * 0.02, message))
consumer = Consumer(connection.channel(), [ORDERED], on_message=begin)
consumer.qos(prefetch_count=20)
consumer.consume()
while True:
    try:
        connection.drain_events(timeout=0.005)
    except TimeoutError:
        pass
    for end, message in [p for p in pending if p[0] <= time.monotonic()]:
        pending.remove((end, message))
        out.write(json.dumps(["end", *message.payload, time.time()]) + "\\n")
        message.ack()
"""


def test_keys_keep_their_order_over_several_workers_and_a_kill(
    connect: Connect, kafka: str, prefix: str, tmp_path: Path
) -> None:
    keys, each = 30, 20
    options = {"group_id": prefix + "group", "topic_prefix": prefix, "num_partitions": 4}
    sender = connect(confirm_publish=False)
    for number in range(each):
        for key in range(keys):
            publish(sender, f"k{key}", number)
    root = str(Path(__file__).parents[3])
    log = tmp_path / "log"

    def worker() -> "subprocess.Popen[bytes]":
        script = WORKER.format(
            root=root, log=str(log), url=f"kafka://{kafka}", options=json.dumps(options)
        )
        return subprocess.Popen([sys.executable, "-c", script])

    def events() -> list[tuple[str, str, int, float]]:
        lines = log.read_text().splitlines() if log.exists() else []
        return [tuple(json.loads(line)) for line in lines]

    def done() -> set[tuple[str, int]]:
        return {(key, number) for what, key, number, _ in events() if what == "end"}

    workers = [worker(), worker()]
    try:
        wait_until(lambda: len(done()) > keys * each // 4, within=40, what="a quarter of the tasks")
        workers[0].kill()
        workers[0].wait()
        workers.append(worker())
        wait_until(lambda: len(done()) == keys * each, within=60, what="all tasks")
    finally:
        for process in workers:
            process.kill()
            process.wait()
    by_key: defaultdict[str, list[tuple[str, int]]] = defaultdict(list)
    for what, name, number, _ in sorted(events(), key=lambda event: event[3]):
        by_key[name].append((what, number))
    again = 0
    for of_key in by_key.values():
        highest = -1
        for what, number in of_key:
            if what == "begin" and number <= highest:
                # Begun before the kill, or done and not committed in its last moments.
                again += 1
            elif what == "begin":
                assert number == highest + 1
                assert highest < 0 or ("end", highest) in of_key[: of_key.index(("begin", number))]
                highest = number
    assert again <= 20 + keys
