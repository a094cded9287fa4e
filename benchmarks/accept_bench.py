"""Accepting requests: the capture beside what it competes with, in one server process.

    python benchmarks/accept_bench.py [--quick] [--rounds 5] [--seconds 3]

Each contender is an endpoint of the same app (accept_service.py), asked in turns by 32 connections,
then by one. Kafka: KAFKA_TEST_BOOTSTRAP_SERVERS, or one that is started here. Server, client, Kafka
and Redis share the machine, so a rate says little by itself: compare those of one run. The server's
CPU a request is what a machine of more cores would be held by.
"""

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import httpx
import psutil
from confluent_kafka.admin import AdminClient, NewTopic

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.load import load, post  # noqa: E402
from benchmarks.servers import servers  # noqa: E402
from tests.support.ports import free_port  # noqa: E402
from tests.support.waiting import wait_until  # noqa: E402

CONNECTIONS = 32
BARE_TOPIC = f"accept-bench-{os.getpid()}"
BODY = b'{"article": "a pound of apples", "pieces": 3}'
CONTENDERS = {
    "answered directly": (post("/orders", BODY), 200),
    "capture": (post("/orders", BODY, "X-Async-Request: channel-of-the-benchmark"), 202),
    "bare aiokafka, send and wait": (post("/aiokafka", BODY), 202),
    "apply_async on Redis, in a thread": (post("/apply_async", BODY), 202),
}


def measure(port: int, process: psutil.Process, rounds: int, seconds: float) -> None:
    rates: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    costs: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    alone: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    for name, (request, status) in CONTENDERS.items():
        # Connections, topics, code that is compiled at first use.
        asyncio.run(load(port, request, status, CONNECTIONS, min(seconds, 1)))
        print(f"  . {name}", flush=True)
    for _ in range(rounds):
        for name, (request, status) in CONTENDERS.items():
            before = sum(process.cpu_times()[:2])
            rate, each = asyncio.run(load(port, request, status, CONNECTIONS, seconds))
            costs[name].append((sum(process.cpu_times()[:2]) - before) / len(each))
            rates[name].append(rate)
            _, each = asyncio.run(load(port, request, status, 1, seconds / 3))
            alone[name].append(statistics.median(each))
    direct = statistics.median(rates["answered directly"])
    quickest = statistics.median(alone["answered directly"])
    print(
        f"\n{'':34} {'a second':>24} {'of direct':>9} {'CPU':>22} {'p50, 1 client':>14} {'added':>8}"
    )
    for name in CONTENDERS:
        rate, p50 = statistics.median(rates[name]), statistics.median(alone[name])
        print(
            f"{name:34} {_spread(rates[name]):>24} {rate / direct:9.2f} "
            f"{_spread([cost * 1e6 for cost in costs[name]]):>19} us "
            f"{p50 * 1e3:11.2f} ms {(p50 - quickest) * 1e3:5.2f} ms"
        )
    print(f"load average {os.getloadavg()[0]:.0f} on {os.cpu_count()} cores")


def _spread(values: list[float]) -> str:
    """The median, the lowest and the highest."""
    return f"{statistics.median(values):.0f} ({min(values):.0f} to {max(values):.0f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument(
        "--quick", action="store_true", help="see that it works; figures say nothing"
    )
    given = parser.parse_args()
    rounds, seconds = (1, 0.3) if given.quick else (given.rounds, given.seconds)
    with tempfile.TemporaryDirectory() as name, servers(Path(name)) as (kafka, redis_url):
        admin = AdminClient({"bootstrap.servers": kafka})
        for made in admin.create_topics([NewTopic(BARE_TOPIC, 16)]).values():
            made.result()
        port = free_port()
        environment = os.environ | {
            "BENCH_KAFKA": kafka, "BENCH_BARE_TOPIC": BARE_TOPIC, "BENCH_REDIS": redis_url, "PYTHONPATH": str(ROOT),
            "ALLOW_ANONYMOUS": "true",
        }  # fmt: skip
        command = [
            sys.executable, "-m", "uvicorn", "benchmarks.accept_service:app",
            "--port", str(port), "--log-level", "warning", "--no-access-log",
        ]  # fmt: skip
        with subprocess.Popen(command, cwd=ROOT, env=environment) as server:
            try:
                wait_until(lambda: _answers(port), within=60, what="the server")
                measure(port, psutil.Process(server.pid), rounds, seconds)
            finally:
                server.kill()


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/ready").is_success
    except httpx.TransportError:
        return False


if __name__ == "__main__":
    main()
