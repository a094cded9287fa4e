"""One turn of one broker in `transport_bench.py`: what is started, and what is measured of it."""

import contextlib
import json
import os
import struct
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import psutil
import redis

from benchmarks import transport_fill as fill
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[1]

#: As `transport_project` writes it: tasks, first, last.
COUNT = struct.Struct("=qdd")

#: Seconds that one measurement may take.
PATIENCE = 180.0

#: Seconds that the stock transport may take: it polls for five seconds and more at a time.
STOCK_PATIENCE = 60.0

#: What a worker needs fanout for, which the stock Kafka transport lacks.
WITHOUT_FANOUT = ("--without-gossip", "--without-mingle", "--without-heartbeat")


class Failed(Exception):
    """A contender did not do what was measured; says where it stopped."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many messages of each kind."""

    publish: int
    drain: int
    latency: int
    idle_seconds: float
    few: int
    many: int
    #: What the stock transport has to drain.
    stock: int


class Count(NamedTuple):
    tasks: int
    first: float
    last: float


class Turns:
    """Every turn has a queue of its own, unless it says otherwise."""

    def __init__(self, kafka: str, redis_url: str, directory: Path, sizes: Sizes) -> None:
        self.kafka = kafka
        self.redis_url = redis_url
        self.directory = directory
        self.sizes = sizes
        self._filled: set[str] = set()

    def publish(self, broker: str, threads: int, *, confirm: bool) -> dict[str, float]:
        """Tasks a second that one process sends, and its CPU time for each."""
        environment = self._environment(broker, new_queue())
        environment["BENCH_CONFIRM"] = str(int(confirm))
        self._flush_redis()
        return self._client(environment, "publish", self.sizes.publish, threads)

    def drain(self, broker: str, *options: str) -> dict[str, float]:
        """Waiting no-ops a second that one worker runs."""
        number = self.sizes.drain if broker != "stock" else self.sizes.stock
        self._flush_redis()
        environment = self._environment(broker, new_queue())
        self._fill(broker, environment, number)
        return self._drain(broker, environment, number, options)

    def backlog(self, which: str) -> dict[str, float]:
        """The first of the waiting tasks, of many or of few; many are made once for all rounds."""
        queue = f"bench-{which}-{self.directory.name}" if which == "many" else new_queue()
        environment = self._environment("kafka", queue)
        if queue not in self._filled:
            self._fill("kafka", environment, self.sizes.many if which == "many" else self.sizes.few)
            self._filled.add(queue)
        return self._drain("kafka", environment, self.sizes.few, ("-P", "solo"))

    def idle(self, broker: str) -> dict[str, float]:
        """Milliseconds from send to result with an idle worker, then what it costs to wait."""
        self._flush_redis()
        environment = self._environment(broker, new_queue())
        self._client(environment, "publish", 1, 1)
        with self._worker(broker, environment, ("-P", "solo")) as process:
            self._wait_for_tasks(environment, 1, broker)
            took = self._client(environment, "latency", self.sizes.latency)
            before = cpu_seconds(process)
            time.sleep(self.sizes.idle_seconds)
            spent = cpu_seconds(process) - before
        return took | {"cpu_ms": spent / self.sizes.idle_seconds * 1000}

    def start(self, broker: str) -> dict[str, float]:
        """Seconds from the worker's start to its first task, its group being known already."""
        self._flush_redis()
        environment = self._environment(broker, new_queue())
        self._client(environment, "publish", 1, 1)
        with self._worker(broker, environment, ("-P", "solo"), warm=True):
            # The client's warm-up is there too.
            self._wait_for_tasks(environment, 51, broker)
        self._client(environment, "publish", 1, 1)
        for path in counts_of(environment).iterdir():
            path.unlink()
        begin = time.time()
        with self._worker(broker, environment, ("-P", "solo")):
            self._wait_for_tasks(environment, 1, broker)
            return {"seconds": count(environment).first - begin}

    def _drain(
        self, broker: str, environment: dict[str, str], number: int, options: tuple[str, ...]
    ) -> dict[str, float]:
        for path in counts_of(environment).iterdir():
            path.unlink()
        with self._worker(broker, environment, options) as process:
            self._wait_for_tasks(environment, 1, broker)
            began, before = count(environment).tasks, cpu_seconds(process)
            self._wait_for_tasks(environment, number, broker)
            done, after = count(environment), cpu_seconds(process)
            return {
                "rate": done.tasks / (done.last - done.first),
                # All of a few tasks may be done before the clock was read.
                "cpu_us": (after - before) / max(1, done.tasks - began) * 1e6,
                "rss_mb": process.memory_info().rss / 1e6,
            }

    def _wait_for_tasks(self, environment: dict[str, str], number: int, broker: str) -> None:
        patience = STOCK_PATIENCE if broker == "stock" else PATIENCE
        try:
            wait_until(
                lambda: count(environment).tasks >= number,
                within=patience, what="tasks", every=0.01,
            )  # fmt: skip
        except AssertionError:
            done = count(environment).tasks
            raise Failed(f"{done} of {number} tasks ran in {patience:g} s") from None

    def _environment(self, broker: str, queue: str) -> dict[str, str]:
        counts = self.directory / "counts" / queue
        counts.mkdir(parents=True, exist_ok=True)
        url = {
            "kafka": f"kafka://{self.kafka}",
            "redis": self.redis_url,
            "memory": "memory://",
            "stock": f"confluentkafka://{self.kafka}",
        }[broker]
        return os.environ | {
            "BENCH_BROKER": url,
            "BENCH_BACKEND": self.redis_url.removesuffix("/0") + "/1",
            "BENCH_QUEUE": queue,
            "BENCH_COUNTS": str(counts),
            "PYTHONPATH": str(ROOT),
        }

    def _client(self, environment: dict[str, str], what: str, *numbers: int) -> dict[str, float]:
        command = [sys.executable, "-m", "benchmarks.transport_client", what, *map(str, numbers)]
        try:
            done = subprocess.run(
                command, env=environment, cwd=ROOT, check=True, capture_output=True, text=True,
                timeout=PATIENCE,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise Failed(f"{what} hung for {PATIENCE:g} s") from None
        except subprocess.CalledProcessError as error:
            raise Failed(f"{what}: {error.stderr.strip().splitlines()[-1]}") from error
        measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        return measured

    def _fill(self, broker: str, environment: dict[str, str], number: int) -> None:
        """One task sent as Celery does, and copies of it."""
        script = "from benchmarks.transport_project import noop; noop.apply_async()"
        subprocess.run([sys.executable, "-c", script], env=environment, cwd=ROOT, check=True)
        queue = environment["BENCH_QUEUE"]
        if broker == "redis":
            fill.fill_redis(self.redis_url, queue, number - 1)
        elif broker == "stock":
            fill.fill_stock(self.kafka, queue, number - 1)
        else:
            fill.fill_kafka(self.kafka, queue, number - 1)

    def _flush_redis(self) -> None:
        client = redis.Redis.from_url(self.redis_url)
        client.flushall()
        client.close()

    @contextmanager
    def _worker(
        self, broker: str, environment: dict[str, str], options: tuple[str, ...], *,
        warm: bool = False,
    ) -> Iterator[psutil.Process]:  # fmt: skip
        command = [
            sys.executable, "-m", "celery", "-A", "benchmarks.transport_project", "worker",
            "-l", "WARNING", *options, *(WITHOUT_FANOUT if broker == "stock" else ()),
        ]  # fmt: skip
        with (self.directory / "worker.log").open("ab") as log:
            worker = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=log, stderr=log)
        process = psutil.Process(worker.pid)
        try:
            yield process
            if warm:
                process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    worker.wait(20)
        finally:
            if worker.poll() is None:
                for each in [*process.children(recursive=True), process]:
                    each.kill()
                worker.wait()


def new_queue() -> str:
    return f"bench-{uuid.uuid4().hex[:8]}"


def counts_of(environment: dict[str, str]) -> Path:
    return Path(environment["BENCH_COUNTS"])


def count(environment: dict[str, str]) -> Count:
    """What all processes of a worker have run so far."""
    found = [
        COUNT.unpack(text)
        for path in counts_of(environment).iterdir()
        if len(text := path.read_bytes()) == COUNT.size
    ]
    found = [each for each in found if each[0]]
    if not found:
        return Count(0, 0.0, 0.0)
    return Count(
        sum(tasks for tasks, _, _ in found),
        min(first for _, first, _ in found),
        max(last for _, _, last in found),
    )


def cpu_seconds(process: psutil.Process) -> float:
    """CPU time of a worker with its children."""
    times = [each.cpu_times() for each in [process, *process.children(recursive=True)]]
    return sum(each.user + each.system for each in times)
