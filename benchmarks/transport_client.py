"""What a client process does for `transport_bench.py`; it prints what it measured as JSON.

transport_client.py publish NUMBER THREADS | latency NUMBER
"""

import json
import os
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from benchmarks.transport_project import BROKER, app, echo, noop

#: Tasks sent before the clock starts: connections, topics, imports.
WARM_UP = 50

#: The same for latencies. Kafka writes the first entry of a partition's index with the record that
#: passes 4,096 bytes, the seventh here, which waits 5 ms for it: once in each of 16 partitions.
LATENCY_WARM_UP = 200

#: Seconds between two tasks, so that each finds an idle worker.
GAP = 0.01


def flush() -> None:
    """Waits until the broker has what was sent."""
    if BROKER.startswith("kafka:"):
        with app.connection_for_write() as connection:
            connection.connection.cluster.publisher.flush()


def publish(number: int, threads: int) -> dict[str, float]:
    """Sends that many no-ops; the time ends when the broker has them all."""

    def send(count: int) -> None:
        for _ in range(count):
            noop.apply_async()

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(send, [max(1, WARM_UP // threads)] * threads))
        flush()
        begin, cpu = time.perf_counter(), time.process_time()
        list(pool.map(send, [number // threads] * threads))
        flush()
        seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
    sent = number // threads * threads
    return {"rate": sent / seconds, "cpu_us": cpu / sent * 1e6}


def latency(number: int) -> dict[str, float]:
    """Milliseconds from sending a task to having its result."""
    took = []
    for each in range(LATENCY_WARM_UP + number):
        begin = time.perf_counter()
        result = echo.apply_async((each,))
        # 60 s: the time limit of a broker that hangs, not of one that is slow.
        assert result.get(timeout=60) == each
        took.append((time.perf_counter() - begin) * 1000)
        time.sleep(GAP)
    took = sorted(took[LATENCY_WARM_UP:])
    return {"p50": statistics.median(took), "p99": took[int(len(took) * 0.99)]}


if __name__ == "__main__":
    what = {"publish": publish, "latency": latency}[sys.argv[1]]
    print(json.dumps(what(*map(int, sys.argv[2:]))), flush=True)
    # The stock transport's clients may hang as the interpreter ends.
    sys.stdout.flush()
    os._exit(0)
