"""The Celery project that `transport_bench.py` measures, on the broker that BENCH_* names.

Each process that runs tasks counts them in a file of its own under BENCH_COUNTS: how many, when the
first began, when the last did. A write into mapped memory costs the same with every broker.
"""

import mmap
import os
import struct
import time
from pathlib import Path

from celery import Celery
from celery.signals import worker_process_init

BROKER = os.environ["BENCH_BROKER"]
BACKEND = os.environ["BENCH_BACKEND"]
QUEUE = os.environ["BENCH_QUEUE"]
COUNTS = Path(os.environ["BENCH_COUNTS"])
CONFIRM = os.environ.get("BENCH_CONFIRM", "1") == "1"

#: Tasks, seconds since the epoch at which the first began, and the last.
COUNT = struct.Struct("=qdd")

if BROKER.startswith("kafka:"):
    import kafka_transport  # noqa: F401

app = Celery("bench", broker=BROKER, backend=BACKEND)
app.conf.update(
    task_default_queue=QUEUE,
    task_acks_late=True,
    broker_connection_retry_on_startup=True,
    broker_pool_limit=40,
    # One that only the stock Kafka transport lacks what it takes.
    worker_enable_remote_control=not BROKER.startswith("confluentkafka:"),
)
if BROKER.startswith("kafka:"):
    app.conf.broker_transport_options = {"group_id": QUEUE, "confirm_publish": CONFIRM}


class Counter:
    """This process's file; a forked child makes its own."""

    def __init__(self) -> None:
        self.first = 0.0
        self.tasks = 0
        self.memory: mmap.mmap | None = None

    def forget(self, **_: object) -> None:
        self.__init__()  # type: ignore[misc]

    def count(self) -> None:
        now = time.time()
        if self.memory is None:
            path = COUNTS / str(os.getpid())
            path.write_bytes(bytes(COUNT.size))
            with path.open("r+b") as file:
                self.memory = mmap.mmap(file.fileno(), COUNT.size)
            self.first = now
        self.tasks += 1
        COUNT.pack_into(self.memory, 0, self.tasks, self.first, now)


counter = Counter()
worker_process_init.connect(counter.forget)


@app.task(name="noop", ignore_result=True)
def noop() -> None:
    counter.count()


@app.task(name="echo")
def echo(number: int) -> int:
    return number
