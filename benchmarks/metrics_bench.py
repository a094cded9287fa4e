"""What metrics cost: accepting and replaying with them and without, in turns, by CPU time.

    python benchmarks/metrics_bench.py [--quick] [--rounds 7] [--number 4000] [--seconds 3]

Each round has a pair for accepting (two server processes, loaded in turns by 32 connections) and a
pair for replaying (a queue is filled, then one worker drains it), the order alternating. Metrics on:
METRICS_PORT is set, Kafka's clients tell of themselves every 15 s, and the port is scraped every
second, which is far more than Prometheus does. What counts is the median of the pairs' ratios: wall
clock on a shared machine says nothing of a few per cent. On a busy one even CPU time does not: the
first row, what is called for one request and nothing else, is the one to trust there. Kafka: as for
the other benchmarks.
"""

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread

import httpx
import psutil

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.load import load, post  # noqa: E402
from benchmarks.replay_bench import CHANNEL, HEADERS, Bench  # noqa: E402
from benchmarks.servers import servers  # noqa: E402
from respond_async.envelope import CapturedRequest  # noqa: E402
from respond_async.scope import ROUTE  # noqa: E402
from tests.support.ports import free_port  # noqa: E402
from tests.support.waiting import wait_until  # noqa: E402

BODY = b'{"article": "a pound of apples", "pieces": 3}'
REQUEST = post("/orders", BODY, "X-Async-Request: channel-of-the-benchmark")
CONNECTIONS = 32
LIMIT = 0.05

Measure = Callable[[], float]


@contextmanager
def scraped(port: int) -> Iterator[None]:
    """Reads the metrics every second."""
    ended = Event()

    def scrape() -> None:
        with httpx.Client(timeout=5) as client:
            while not ended.wait(1.0):
                try:
                    client.get(f"http://127.0.0.1:{port}/metrics")
                except httpx.TransportError:
                    # It has not started, or has ended.
                    continue

    thread = Thread(target=scrape)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextmanager
def metrics(*, on: bool) -> Iterator[dict[str, str]]:
    """The environment of a process with metrics or without."""
    if not on:
        yield {}
        return
    port = free_port()
    with scraped(port):
        yield {"METRICS_PORT": str(port), "BENCH_STATISTICS_SECONDS": "15"}


class Accepting:
    """A server process."""

    def __init__(self, kafka: str, redis_url: str, seconds: float) -> None:
        self._environment = {
            "BENCH_KAFKA": kafka, "BENCH_REDIS": redis_url, "BENCH_BARE_TOPIC": "unused",
            "ALLOW_ANONYMOUS": "true", "PYTHONPATH": str(ROOT),
            # The first one makes the topic; on a busy machine that takes longer than the default.
            "KAFKA_PUBLISH_TIMEOUT_SECONDS": "60",
        }  # fmt: skip
        self._seconds = seconds

    @contextmanager
    def running(self, *, on: bool) -> Iterator[Measure]:
        port = free_port()
        command = [
            sys.executable, "-m", "uvicorn", "benchmarks.accept_service:app",
            "--port", str(port), "--log-level", "warning", "--no-access-log",
        ]  # fmt: skip
        with metrics(on=on) as more:
            environment = os.environ | self._environment | more
            with subprocess.Popen(command, cwd=ROOT, env=environment) as server:
                try:
                    wait_until(lambda: _answers(port), within=60, what="the server")
                    process = psutil.Process(server.pid)
                    # Connections, topics, code that is compiled at first use.
                    self._cost(port, process, min(self._seconds, 1))
                    yield lambda: self._cost(port, process, self._seconds)
                finally:
                    server.kill()

    @staticmethod
    def _cost(port: int, process: psutil.Process, seconds: float) -> float:
        before = sum(process.cpu_times()[:2])
        _, each = asyncio.run(load(port, REQUEST, 202, CONNECTIONS, seconds))
        return (sum(process.cpu_times()[:2]) - before) / len(each)


def alone(times: int) -> tuple[float, float]:
    """CPU seconds of what is called for one request: in accepting, in replaying."""
    from celery import Celery
    from fastapi import FastAPI

    from respond_async import Settings
    from respond_async.metrics.app import AppMetrics
    from respond_async.metrics.worker import WorkerMetrics

    app, celery, settings = FastAPI(), Celery(set_as_current=False), Settings()
    for number in range(20):
        app.add_api_route(f"/before/{number}/{{name}}", lambda: None)
    app.add_api_route("/orders", lambda: None, methods=["POST"])
    accepting = AppMetrics(settings, lambda: celery, app.router)
    replaying = WorkerMetrics(settings, celery)
    scope = {"type": "http", "method": "POST", "path": "/orders", "headers": HEADERS}
    label = accepting.label(scope)
    now = datetime.now(UTC)
    request = CapturedRequest.of({**scope, ROUTE: label}, "i" * 64, now, CHANNEL)

    def accept() -> None:
        accepting.captured(accepting.label(scope))

    def replay() -> None:
        replaying.began(request, 0.01, 1)
        replaying.ran(request, 0.01)
        replaying.answered(request, 200, 0.02)

    def cost(call: Callable[[], None]) -> float:
        before = time.process_time()
        for _ in range(times):
            call()
        return (time.process_time() - before) / times

    return tuple(statistics.median(cost(call) for _ in range(5)) for call in (accept, replay))  # type: ignore[return-value]


def replaying(bench: Bench, number: int, *, on: bool) -> float:
    """CPU seconds a replay."""
    with metrics(on=on) as more:
        os.environ.update(more)
        try:
            return bench.worker(number)[1]
        finally:
            for name in more:
                del os.environ[name]


def pairs(rounds: int, without: Measure, with_them: Measure) -> list[tuple[float, float]]:
    found = []
    for number in range(rounds):
        if number % 2:
            second = with_them()
            found.append((without(), second))
        else:
            found.append((without(), with_them()))
    return found


def show(what: str, found: list[tuple[float, float]]) -> None:
    without, with_them = (statistics.median(one) * 1e6 for one in zip(*found, strict=True))
    ratios = sorted(after / before - 1 for before, after in found)
    cost = statistics.median(ratios)
    print(
        f"{what:10} {without:6.0f} us without, {with_them:6.0f} us with metrics: "
        f"{cost:+.1%} (pairs {ratios[0]:+.1%} to {ratios[-1]:+.1%}); less than {LIMIT:.0%} wanted",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--number", type=int, default=4000, help="replays in each turn")
    parser.add_argument("--seconds", type=float, default=3.0, help="of load in each turn")
    parser.add_argument(
        "--quick", action="store_true", help="see that it works; figures say nothing"
    )
    given = parser.parse_args()
    if given.quick:
        given.rounds, given.number, given.seconds = 1, 50, 0.3
    with tempfile.TemporaryDirectory() as name, servers(Path(name)) as (kafka, redis_url):
        calls = [each * 1e6 for each in alone(200 if given.quick else 20_000)]
        print(f"calls alone: {calls[0]:.1f} us in accepting, {calls[1]:.1f} us in replaying")
        accepting = Accepting(kafka, redis_url, given.seconds)
        with ExitStack() as stack:
            turns = [stack.enter_context(accepting.running(on=on)) for on in (False, True)]
            show("accepting", pairs(given.rounds, *turns))
        bench = Bench(kafka, redis_url, Path(name))
        show(
            "replaying",
            pairs(
                given.rounds,
                lambda: replaying(bench, given.number, on=False),
                lambda: replaying(bench, given.number, on=True),
            ),
        )


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/ready").is_success
    except httpx.TransportError:
        return False


if __name__ == "__main__":
    main()
