"""The asyncio pool beside what it competes with, on one machine, taking turns.

    python benchmarks/pool_bench.py [--rounds 3] [--only nap,noop,asgi,memory,soak]

Each round fills a queue, then starts one worker process; the time is from the moment its first task
begins to the moment the last result can be read in Redis. The contenders' own packages go into a
virtual environment under .cache/, never into the project's. Kafka: KAFKA_TEST_BOOTSTRAP_SERVERS, or
one that is started here.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import redis

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.support.kafka_server import KafkaServer  # noqa: E402
from tests.support.redis_server import RedisServer  # noqa: E402
from tests.support.waiting import wait_until  # noqa: E402

ENVIRONMENT = ROOT / ".cache" / "pool_bench"
# taskiq 0.12 and later do not go with the published taskiq-redis.
PACKAGES = ["taskiq<0.12", "taskiq-redis", "arq", "gevent"]


@dataclass(frozen=True)
class Contender:
    name: str
    kind: str
    broker: str
    concurrency: int
    options: tuple[str, ...] = ()


POOL_KAFKA = Contender("pool, kafka", "pool", "kafka", 1000)
NAPPERS = [
    POOL_KAFKA,
    Contender("pool, redis", "pool", "redis", 1000),
    Contender("taskiq", "taskiq", "redis", 1000),
    Contender("arq", "arq", "redis", 1000),
    Contender("celery gevent, redis", "sync", "redis", 1000, ("-P", "gevent")),
    Contender("celery threads, kafka", "sync", "kafka", 100, ("-P", "threads")),
]
NOOPERS = [POOL_KAFKA, Contender("celery solo, kafka", "sync", "kafka", 1, ("-P", "solo"))]


class Bench:
    def __init__(self, kafka: str, redis_url: str, directory: Path) -> None:
        self.kafka = kafka
        self.redis_url = redis_url
        self.directory = directory
        self.python = contenders_python()
        self.jobs = redis.Redis.from_url(redis_url)
        self.results = redis.Redis.from_url(redis_url.removesuffix("/0") + "/1")
        #: CPU seconds of the worker for a task, by contender.
        self.cpu: dict[str, list[float]] = {}

    def seconds(self, who: Contender, task: str, number: int, *args: float) -> float:
        """How long `number` waiting tasks take, from the begin of the first."""
        self.jobs.flushall()
        queue = f"bench-{uuid.uuid4().hex[:8]}"
        started = self.directory / queue
        environment = self._environment(who, queue, started)
        self._fill(environment, task, number, args)
        with self._worker(who, environment) as process:
            wait_until(started.exists, within=60, what="the first task", every=0.002)
            before, already = _cpu(process), self._done(who)
            wait_until(lambda: self._done(who) >= number, within=60, what="all results", every=0.01)
            took = time.time() - float(started.read_text())
            self.cpu.setdefault(who.name, []).append((_cpu(process) - before) / (number - already))
            return took

    def memory(self, who: Contender, number: int) -> tuple[float, float]:
        """MB of the idle worker, and with that many tasks in flight."""
        self.jobs.flushall()
        queue = f"bench-{uuid.uuid4().hex[:8]}"
        started = self.directory / queue
        environment = self._environment(who, queue, started)
        self._fill(environment, "nap", 1, (0,))
        with self._worker(who, environment) as process:
            wait_until(lambda: self._done(who) >= 1, within=60, what="the first result")
            idle = process.memory_info().rss
            self._fill(environment, "nap", number, (60,))
            time.sleep(25)
            return idle / 1e6, process.memory_info().rss / 1e6

    def soak(self, who: Contender, number: int, turns: int) -> Iterator[dict[str, float]]:
        """What there is in the worker after each turn of that many tasks."""
        self.jobs.flushall()
        queue = f"bench-{uuid.uuid4().hex[:8]}"
        environment = self._environment(who, queue, self.directory / queue)
        with self._worker(who, environment):
            for _ in range(turns):
                self.results.flushall()
                self._fill(environment, "noop", number, ())
                wait_until(lambda: self._done(who) >= number, within=600, what="all results")
                self._fill(environment, "census", 1, ())
                wait_until(lambda: self._done(who) > number, within=60, what="the census")
                for key in self.results.scan_iter(count=1000):
                    result = json.loads(self.results.get(key) or b"{}")["result"]
                    if result is not None:
                        yield result

    def _environment(self, who: Contender, queue: str, started: Path) -> dict[str, str]:
        return os.environ | {
            "BENCH_CONTENDER": who.kind,
            "BENCH_REDIS": self.redis_url,
            "BENCH_BROKER": f"kafka://{self.kafka}" if who.broker == "kafka" else self.redis_url,
            "BENCH_QUEUE": queue,
            "BENCH_STARTED": str(started),
            "BENCH_CONCURRENCY": str(who.concurrency),
            "PYTHONPATH": str(ROOT),
        }

    def _fill(
        self, environment: dict[str, str], task: str, number: int, args: tuple[float, ...]
    ) -> None:
        command = [self.python, "-m", "benchmarks.pool_fill", task, str(number), *map(str, args)]
        subprocess.run(command, env=environment, cwd=ROOT, check=True)

    @contextmanager
    def _worker(self, who: Contender, environment: dict[str, str]) -> Iterator[psutil.Process]:
        module = "benchmarks.pool_contenders"
        command = {
            "taskiq": [
                "taskiq", "worker", f"{module}:broker", "--workers", "1",
                "--max-async-tasks", str(who.concurrency), "--log-level", "ERROR",
            ],
            "arq": ["arq", f"{module}.WorkerSettings"],
        }.get(
            who.kind,
            [
                "celery", "-A", module, "worker", "-l", "ERROR", "-c", str(who.concurrency),
                *who.options,
            ],
        )  # fmt: skip
        with (ENVIRONMENT / "worker.log").open("ab") as log:
            worker = subprocess.Popen(
                [str(Path(self.python).with_name(command[0])), *command[1:]],
                env=environment, cwd=ROOT, stdout=log, stderr=log,
            )  # fmt: skip
        process = psutil.Process(worker.pid)
        try:
            yield process
        finally:
            for each in [*process.children(recursive=True), process]:
                each.kill()
            worker.wait()

    def _done(self, who: Contender) -> int:
        if who.kind == "arq":
            return len(self.jobs.keys("arq:result:*"))
        return int(self.results.dbsize())


def _cpu(process: psutil.Process) -> float:
    """Seconds of CPU of a worker and its children."""
    return sum(sum(each.cpu_times()[:2]) for each in (process, *process.children(recursive=True)))


def contenders_python() -> str:
    """The interpreter of an environment that has the project and the contenders."""
    python = str(ENVIRONMENT / "bin" / "python")
    if not Path(python).exists():
        uv = [sys.executable, "-m", "uv"]
        subprocess.run(
            [*uv, "venv", "-q", "--python", sys.executable, str(ENVIRONMENT)], check=True
        )
        install = [*uv, "pip", "install", "-q", "--python", python, "-e", str(ROOT)]
        subprocess.run([*install, "greenlet", "uvloop", "psutil", *PACKAGES], check=True)
    return python


def table(title: str, rounds: dict[str, list[float]], number: int) -> None:
    print(f"\n{title}")
    for name, seconds in rounds.items():
        median = statistics.median(seconds)
        every = " ".join(f"{each:.2f}" for each in seconds)
        print(
            f"  {name:24} median {median:6.2f} s  {number / median:8.0f}/s   ({every})", flush=True
        )


def take_turns(
    bench: Bench, who: list[Contender], rounds: int, task: str, number: int, *args: float
) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {each.name: [] for each in who}
    for _ in range(rounds):
        for each in who:
            try:
                seconds[each.name].append(bench.seconds(each, task, number, *args))
            except AssertionError as error:
                print(f"  ! {each.name}: {error}")
                seconds[each.name].append(float("inf"))
            cpu = bench.cpu.get(each.name, [0.0])[-1] * 1e6
            print(f"  . {each.name}: {seconds[each.name][-1]:.2f} s, {cpu:.0f} us CPU", flush=True)
    return seconds


def run(bench: Bench, rounds: int, only: set[str]) -> None:
    if "nap" in only:
        napped = take_turns(bench, NAPPERS, rounds, "nap", 1000, 0.1)
        table("1,000 waiting tasks that sleep 100 ms", napped, 1000)
    if "noop" in only:
        did = take_turns(bench, NOOPERS, rounds, "noop", 10_000)
        table("10,000 waiting tasks that do nothing", did, 10_000)
    if "asgi" in only:
        from benchmarks.pool_endpoint import bare

        seconds: dict[str, list[float]] = {"bare loop": [], POOL_KAFKA.name: []}
        for _ in range(rounds):
            seconds["bare loop"].append(bare(10_000))
            seconds[POOL_KAFKA.name].append(bench.seconds(POOL_KAFKA, "asgi", 10_000))
        table("10,000 calls of a trivial endpoint by ASGITransport", seconds, 10_000)
    if "memory" in only:
        who = Contender("pool, kafka", "pool", "kafka", 6000)
        idle, loaded = bench.memory(who, 5000)
        print(
            f"\n5,000 tasks in flight: {loaded:.0f} MB, idle {idle:.0f} MB: "
            f"{loaded - idle:.0f} MB more"
        )
    if "soak" in only:
        print("\n200,000 tasks through one process")
        for turn, found in enumerate(bench.soak(POOL_KAFKA, 20_000, 10), 1):
            print(f"  after {turn * 20_000}: {found}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="nap,noop,asgi,memory")
    given = parser.parse_args()
    only = set(given.only.split(","))
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "redis").mkdir()
        with RedisServer(directory / "redis") as server:
            servers = os.environ.get("KAFKA_TEST_BOOTSTRAP_SERVERS")
            if servers:
                run(Bench(servers, server.url, directory), given.rounds, only)
                return
            with KafkaServer(directory) as kafka:
                run(Bench(kafka.bootstrap_servers, server.url, directory), given.rounds, only)


if __name__ == "__main__":
    main()
