"""Workers that join and leave all the time."""

import contextlib
import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from kombu import Consumer, Queue
from kombu.message import Message

from tests.faults.test_kafka_transport import connection_to

pytestmark = [pytest.mark.kafka, pytest.mark.faults]

NUMBERS = Queue("numbers", routing_key="numbers")


class Ledger:
    """What ran, and what a worker had begun and not finished when it left."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.runs: Counter[int] = Counter()
        self.given_up: Counter[int] = Counter()


def work(
    kafka: str, prefix: str, seconds: float, ledger: Ledger, enough: Callable[[], bool]
) -> None:
    """One life of a worker: tasks of up to 20 ms, 20 at a time."""
    running: list[tuple[float, Message]] = []

    def begin(message: Message) -> None:
        with ledger.lock:
            ledger.runs[message.payload] += 1
        running.append((time.monotonic() + random.random() * 0.02, message))

    with connection_to(kafka, prefix) as connection:
        consumer = Consumer(connection.channel(), [NUMBERS], on_message=begin)
        consumer.qos(prefetch_count=20)
        consumer.consume()
        leaves_at = time.monotonic() + seconds
        while time.monotonic() < leaves_at and not (enough() and not running):
            with contextlib.suppress(TimeoutError):
                connection.drain_events(timeout=0.005)
            for end, message in list(running):
                if end <= time.monotonic():
                    running.remove((end, message))
                    message.ack()
        with ledger.lock:
            ledger.given_up.update(message.payload for _, message in running)


def storm(kafka: str, seconds: float, count: int) -> Ledger:
    prefix = f"churn{uuid.uuid4().hex[:6]}."
    ledger = Ledger()
    ends_at = time.monotonic() + seconds

    def publish() -> None:
        with connection_to(kafka, prefix, confirm_publish=False, publish_timeout=30.0) as sender:
            producer = sender.Producer()
            started = time.monotonic()
            for number in range(count):
                producer.publish(number, routing_key="numbers", declare=[NUMBERS])
                ahead = started + seconds * 0.8 * number / count - time.monotonic()
                if ahead > 0.02:
                    time.sleep(ahead)

    def lives(first: float) -> None:
        work(kafka, prefix, first, ledger, lambda: False)
        while time.monotonic() < ends_at:
            work(kafka, prefix, 1.0, ledger, lambda: False)

    def all_ran() -> bool:
        return len(ledger.runs) == count

    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(publish), pool.submit(lives, 1.0), pool.submit(lives, 0.5)]
        for job in jobs:
            job.result()
        work(kafka, prefix, 30.0 + seconds, ledger, all_ran)
    return ledger


def check(ledger: Ledger, count: int) -> None:
    lost = set(range(count)) - set(ledger.runs)
    assert not lost, f"{len(lost)} lost: {sorted(lost)[:10]}"
    # What a worker left unfinished runs again, and nothing else does.
    again = {number: runs - 1 for number, runs in ledger.runs.items() if runs > 1}
    unexplained = {
        number: times for number, times in again.items() if times > ledger.given_up[number]
    }
    print(f"{sum(again.values())} of {count} ran again, {len(unexplained)} of them without cause")
    assert len(unexplained) <= count // 1000, unexplained


def test_workers_that_come_and_go_lose_nothing(kafka: str) -> None:
    check(storm(kafka, seconds=8, count=2_000), 2_000)


@pytest.mark.long
def test_a_minute_of_workers_that_come_and_go_loses_nothing(kafka: str) -> None:
    check(storm(kafka, seconds=60, count=20_000), 20_000)
