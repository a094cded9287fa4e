"""Replaying requests: a worker beside two bare loops and the consumer it replaces.

    python benchmarks/replay_bench.py [--quick] [--rounds 3] [--number 10000] [--memory 5000]

Each round fills a queue, then starts one process; the time is from the begin of the first replay
to the last result in Redis, the owner told. On a shared machine CPU time says more than rates. Kafka: KAFKA_TEST_BOOTSTRAP_SERVERS, or one that is
started here. They take turns in one run: on a shared machine compare those, not two runs.
"""

import argparse
import asyncio
import json
import os
import random
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import httpx
import psutil
import redis
from celery import Celery
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import kafka_transport  # noqa: E402, F401 - gives Celery the scheme kafka://
from benchmarks.servers import servers  # noqa: E402
from respond_async.envelope import CapturedRequest  # noqa: E402
from respond_async.publishing import ReplayPublisher  # noqa: E402
from respond_async.scope import TRACE  # noqa: E402
from respond_async.sealing import Sealer  # noqa: E402
from respond_async.task_ids import TaskIds  # noqa: E402
from tests.support.waiting import wait_until  # noqa: E402
from ws_hub import completed, publication  # noqa: E402

HEADERS = [
    (b"host", b"bench"),
    (b"content-type", b"application/json"),
    (b"user-agent", b"bench"),
    (b"x-async-request", b"channel-of-the-benchmark"),
]
CHANNEL = "anon.channel-of-the-benchmark"


def body(pieces: int) -> bytes:
    return json.dumps({"article": "a pound of apples", "pieces": pieces}).encode()


async def published(
    publisher: ReplayPublisher, requests: list[tuple[CapturedRequest, str, dict[str, str]]]
) -> None:
    await asyncio.gather(*(publisher.confirmed(*request) for request in requests))


def traced(sampled: float | None) -> dict[str, str]:
    """The context of a new trace; `sampled` is how many of them are, None for none at all."""
    if sampled is None:
        return {}
    flags = random.random() < sampled
    return {"traceparent": f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-{flags:02x}"}


def is_sampled(context: dict[str, str]) -> bool:
    return context.get("traceparent", "").endswith("-01")


class Bench:
    def __init__(self, kafka: str, redis_url: str, directory: Path) -> None:
        self.kafka = kafka
        self.redis_url = redis_url
        self.directory = directory
        self.store = redis.Redis.from_url(redis_url)
        #: How many of the requests belong to a sampled trace; None: they have no trace.
        self.sampled: float | None = None

    def worker(self, number: int) -> tuple[float, float]:
        """Seconds for so many replays, and CPU seconds of the worker for each."""
        queue, environment = self.begin()
        self.fill(environment, queue, "/orders", 3, number)
        with self.running(environment, 250) as process:
            started = Path(environment["BENCH_STARTED"])
            wait_until(started.exists, within=120, what="the first replay", every=0.002)
            before = sum(process.cpu_times()[:2])
            already = self.told()
            wait_until(lambda: self.told() >= number, within=600, what="all results", every=0.01)
            took = time.time() - float(started.read_text())
            return took, (sum(process.cpu_times()[:2]) - before) / (number - already)

    def memory(self, number: int) -> tuple[float, float]:
        """MB of the idle worker, and with so many replays in flight."""
        queue, environment = self.begin()
        self.fill(environment, queue, "/orders", 3, 1)
        with self.running(environment, number + 100) as process:
            wait_until(lambda: self.told() >= 1, within=120, what="the first result")
            idle = process.memory_info().rss
            self.fill(environment, queue, "/waits", 3600, number)
            wait_until(lambda: self.begun() >= number, within=600, what="all to begin", every=0.5)
            return idle / 1e6, process.memory_info().rss / 1e6

    def consumer(self, number: int) -> tuple[float, float]:
        """Seconds and CPU seconds a message of the consumer that is replaced."""
        topic, environment = self.begin()
        admin = AdminClient({"bootstrap.servers": self.kafka})
        for made in admin.create_topics([NewTopic(topic, 16)]).values():
            made.result()
        producer = Producer({"bootstrap.servers": self.kafka, "linger.ms": 20})
        for _ in range(number):
            message = {
                "id": uuid.uuid4().hex, "channel": CHANNEL, "method": "POST", "path": "/orders",
                "headers": [[name.decode(), value.decode()] for name, value in HEADERS[1:3]],
                "body": body(3).decode(),
            }  # fmt: skip
            producer.produce(topic, json.dumps(message))
            producer.poll(0)
        producer.flush()
        command = [sys.executable, "-m", "benchmarks.replay_consumer", topic, str(number)]
        done = subprocess.run(
            command, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE, text=True
        )
        took, cpu = done.stdout.split()[-2:]
        return float(took), float(cpu) / number

    def loop(self, kind: str, number: int) -> tuple[float, float]:
        """Seconds and CPU seconds a call of a bare loop in a process of its own."""
        _, environment = self.begin()
        command = [sys.executable, "-m", "benchmarks.replay_bench", "--loop", kind]
        command += ["--number", str(number)]
        done = subprocess.run(
            command, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE, text=True
        )
        took, cpu = done.stdout.split()[-2:]
        return float(took), float(cpu) / number

    def told(self) -> int:
        # The number of the channel's last message: counting keys would keep Redis from its work.
        meta = publication(CHANNEL, completed("any")).keys[1]
        return int(self.store.hget(meta, "o") or 0)  # type: ignore[arg-type]

    def begun(self) -> int:
        count = "return #redis.call('keys', ARGV[1])"
        return int(self.store.eval(count, 0, "respond_async:running:*"))  # type: ignore[arg-type]

    def begin(self) -> tuple[str, dict[str, str]]:
        self.store.flushall()
        queue = f"bench-{uuid.uuid4().hex[:8]}"
        return queue, os.environ | {
            "BENCH_KAFKA": self.kafka,
            "BENCH_REDIS": self.redis_url,
            "BENCH_QUEUE": queue,
            "BENCH_STARTED": str(self.directory / queue),
            "PYTHONPATH": str(ROOT),
        }

    def fill(
        self, environment: dict[str, str], queue: str, path: str, pieces: int, number: int
    ) -> None:
        os.environ.update(environment)
        from respond_async import Settings

        settings = Settings(
            secret_key=["a secret of the benchmark, long enough"]  # type: ignore[list-item]
        )
        ids, sealer = TaskIds(settings), Sealer(settings, "request")
        with Celery(broker=f"kafka://{self.kafka}", set_as_current=False) as celery:
            publisher = ReplayPublisher(celery, queue, 30)
            waiting: list[tuple[CapturedRequest, str, dict[str, str]]] = []
            for _ in range(number):
                now = datetime.now(UTC)
                scope = {
                    "method": "POST", "path": path, "raw_path": path.encode(), "scheme": "http",
                    "client": ("127.0.0.1", 1), "server": ("bench", 80), "headers": HEADERS,
                }  # fmt: skip
                context = traced(self.sampled)
                # What is left out has it in the message's headers alone.
                scope[TRACE] = context if is_sampled(context) else {}
                request = CapturedRequest.of(scope, ids.make(CHANNEL, now), now, CHANNEL)
                waiting.append((request, request.sealed(body(pieces), sealer), context))
            publisher.connect(waiting[0][0])
            asyncio.run(published(publisher, waiting))

    @contextmanager
    def running(
        self,
        environment: dict[str, str],
        concurrency: int,
        wrapped: Callable[[list[str]], list[str]] = list,
    ) -> Iterator[psutil.Process]:
        command = [
            sys.executable, "-m", "celery", "-A", "benchmarks.replay_worker:celery", "worker",
            "-l", "WARNING", "-c", str(concurrency), "--without-mingle", "--without-gossip",
        ]  # fmt: skip
        log = (self.directory / "worker.log").open("ab")
        with subprocess.Popen(
            wrapped(command), cwd=ROOT, env=environment, stdout=log, stderr=log
        ) as worker:
            try:
                yield psutil.Process(worker.pid)
            except BaseException:
                print((self.directory / "worker.log").read_text()[-3000:])
                raise
            finally:
                worker.kill()
        log.close()


async def transport_loop(number: int) -> tuple[float, float]:
    from benchmarks.replay_worker import app

    transport = httpx.ASGITransport(app)
    begun, cpu = time.perf_counter(), time.process_time()
    for _ in range(number):
        request = httpx.Request(
            "POST", "http://replay/orders", headers=HEADERS[1:3], content=body(3)
        )
        response = await transport.handle_async_request(request)
        await response.aread()
        assert response.status_code == 200
    return time.perf_counter() - begun, time.process_time() - cpu


async def client_loop(number: int) -> tuple[float, float]:
    from benchmarks.replay_worker import app

    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://replay"
    ) as client:
        begun, cpu = time.perf_counter(), time.process_time()
        for _ in range(number):
            response = await client.post("/orders", headers=HEADERS[1:3], content=body(3))
            assert response.status_code == 200
        return time.perf_counter() - begun, time.process_time() - cpu


LOOPS = {"transport": transport_loop, "client": client_loop}


def rates(bench: Bench, rounds: int, number: int) -> None:
    contenders = {
        "loop of ASGITransport": partial(bench.loop, "transport"),
        "loop of AsyncClient": partial(bench.loop, "client"),
        "worker": bench.worker,
        "consumer it replaces": bench.consumer,
    }
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    cpu: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run_once in contenders.items():
            took, each = run_once(number)
            seconds[name].append(took)
            cpu[name].append(each)
    found = {name: number / statistics.median(each) for name, each in seconds.items()}
    costs = {name: statistics.median(each) * 1e6 for name, each in cpu.items()}
    print(f"\n{number} replays of a trivial endpoint, one process; load {os.getloadavg()[0]:.0f}")
    for name, rate in found.items():
        every = " ".join(f"{one:.2f}" for one in seconds[name])
        costly = " ".join(f"{one * 1e6:.0f}" for one in cpu[name])
        print(
            f"  {name:22} {rate:8.0f}/s {costs[name]:6.0f} us CPU   seconds: {every}   CPU: {costly}"
        )
    for name, wanted in (
        ("loop of ASGITransport", 0.5), ("loop of AsyncClient", 0.5), ("consumer it replaces", 1.5),
    ):  # fmt: skip
        print(
            f"  worker / {name:22} {found['worker'] / found[name]:.2f}, "
            f"by CPU {costs[name] / costs['worker']:.2f}   ({wanted} wanted)"
        )


def memory(bench: Bench, in_flight: int) -> None:
    idle, loaded = bench.memory(in_flight)
    print(
        f"\n{in_flight} replays in flight: {loaded:.0f} MB, idle {idle:.0f} MB: "
        f"{loaded - idle:.0f} MB more   (less than 250 wanted of 5,000)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="0: the memory alone")
    parser.add_argument("--number", type=int, default=10_000)
    parser.add_argument("--memory", type=int, default=5000, help="replays in flight; 0: left out")
    parser.add_argument(
        "--quick", action="store_true", help="see that it works; figures say nothing"
    )
    parser.add_argument("--loop", choices=LOOPS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.loop:
        print(*asyncio.run(LOOPS[given.loop](given.number)))
        return
    if given.quick:
        given.rounds, given.number, given.memory = 1, 50, 50
    with tempfile.TemporaryDirectory() as name, servers(Path(name)) as (kafka, redis_url):
        bench = Bench(kafka, redis_url, Path(name))
        if given.rounds:
            rates(bench, given.rounds, given.number)
        if given.memory:
            memory(bench, given.memory)


if __name__ == "__main__":
    main()
