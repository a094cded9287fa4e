"""What metrics and traces cost: accepting and replaying with them and without, in turns.

    python benchmarks/metrics_bench.py [--quick] [--instructions] [--rounds 7] [--only "traces 10%"]

A server process and then a worker for each kind, all of them running, and in each round each has its
turn, the order turning: accepting (32 connections that ask) and replaying (a queue is filled, and
drained). Metrics: METRICS_PORT is set, Kafka's clients tell of themselves every 15 s, and the port is
scraped every second, which is far more than Prometheus does. Traces: spans go over OTLP to a collector
outside of what is measured; all of them, or those of one request in ten or a hundred (TRACES_RATIO;
`by sampler`: OpenTelemetry's `parentbased_traceidratio`). `+ FastAPI`: with the spans that FastAPI itself
makes. What is done once in a process, as the first export, is not in it.

What counts is the median of the ratios in each round. Wall clock on a shared machine says nothing of a
few per cent, and CPU time little: `--instructions` counts what is executed (needs valgrind; without what
goes by the second and not by the request: scraping, exporting, what Kafka is asked). The first rows are
what is called for one request and nothing else. Kafka: as for the other benchmarks.
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
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any, Final

import httpx
import psutil

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.load import load, post  # noqa: E402
from benchmarks.meters import CpuTime, Instructions, Meter  # noqa: E402
from benchmarks.metrics_calls import alone  # noqa: E402
from benchmarks.replay_bench import Bench  # noqa: E402
from benchmarks.servers import servers  # noqa: E402
from tests.support.ports import free_port  # noqa: E402
from tests.support.waiting import wait_until  # noqa: E402

BODY = b'{"article": "a pound of apples", "pieces": 3}'
REQUEST = post("/orders", BODY, "X-Async-Request: channel-of-the-benchmark")
CONNECTIONS = 32
LIMIT = 0.05
WITHOUT: Final = "without"
_IN_FLIGHT: Final = 250
#: Longer than OpenTelemetry waits until it exports.
_ONCE_SECONDS: Final = 6.0

Measure = Callable[[], float]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What is switched on."""

    metrics: bool = False
    #: How many requests begin a trace; None: there are no traces.
    sampled: float | None = None
    #: That is for OpenTelemetry's sampler to say, not for TRACES_RATIO.
    sampler: bool = False
    fastapi: bool = False


KINDS: Final = {
    WITHOUT: Kind(),
    "metrics": Kind(metrics=True),
    "traces 1%": Kind(sampled=0.01),
    "traces 10%": Kind(sampled=0.1),
    "traces 10% by sampler": Kind(sampled=0.1, sampler=True),
    "traces always": Kind(sampled=1.0),
    "metrics, traces 1%": Kind(metrics=True, sampled=0.01),
    "traces 10% + FastAPI": Kind(sampled=0.1, fastapi=True),
}


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


class _Discards(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None: ...


@contextmanager
def collector() -> Iterator[str]:
    """Takes spans and throws them away; gives its URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Discards)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def switched(kind: Kind, *, by_the_second: bool) -> Iterator[dict[str, str]]:
    """The environment of a process; and whether what goes by the second goes on too."""
    environment: dict[str, str] = {}
    with ExitStack() as stack:
        if kind.metrics:
            port = free_port()
            environment |= {"METRICS_PORT": str(port), "METRICS_SURVEY_SECONDS": "0"}
            if by_the_second:
                stack.enter_context(scraped(port))
                environment |= {"METRICS_SURVEY_SECONDS": "15", "BENCH_STATISTICS_SECONDS": "15"}
        if kind.sampled is not None:
            environment |= {
                "OTEL_EXPORTER_OTLP_ENDPOINT": stack.enter_context(collector()),
                "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
                "OTEL_TRACES_SAMPLER_ARG": str(kind.sampled if kind.sampler else 1.0),
                "TRACES_RATIO": str(1.0 if kind.sampler else kind.sampled),
                "BENCH_FASTAPI_SPANS": str(int(kind.fastapi)),
            }
            if not by_the_second:
                environment["OTEL_BSP_SCHEDULE_DELAY"] = "1000000"
        yield environment


class Accepting:
    """A server process."""

    def __init__(self, meter: Meter, kafka: str, redis_url: str, seconds: float) -> None:
        self._meter = meter
        self._environment = {
            "BENCH_KAFKA": kafka, "BENCH_REDIS": redis_url, "BENCH_BARE_TOPIC": "unused",
            "ALLOW_ANONYMOUS": "true", "PYTHONPATH": str(ROOT),
            # The first one makes the topic; on a busy machine that takes longer than the default.
            "KAFKA_PUBLISH_TIMEOUT_SECONDS": "60",
        }  # fmt: skip
        self._seconds = seconds

    @contextmanager
    def running(self, kind: Kind) -> Iterator[Measure]:
        port = free_port()
        command = [
            sys.executable, "-m", "uvicorn", "benchmarks.accept_service:app",
            "--port", str(port), "--log-level", "warning", "--no-access-log",
        ]  # fmt: skip
        with switched(kind, by_the_second=self._meter.in_time) as more:
            environment = os.environ | self._environment | more
            with subprocess.Popen(self._meter.of(command), cwd=ROOT, env=environment) as server:
                try:
                    wait_until(
                        lambda: _answers(port), within=self._meter.patience, what="the server"
                    )
                    # Connections, topics, code that is compiled at first use.
                    self._load(port, max(1.0, self._seconds / 3))
                    process = psutil.Process(server.pid)

                    def cost() -> float:
                        before = self._meter.used(process)
                        number = self._load(port, self._seconds)
                        return (self._meter.used(process) - before) / number

                    yield cost
                finally:
                    server.kill()

    @staticmethod
    def _load(port: int, seconds: float) -> int:
        return len(asyncio.run(load(port, REQUEST, 202, CONNECTIONS, seconds))[1])


class Replaying:
    """A worker."""

    def __init__(self, meter: Meter, bench: Bench, number: int) -> None:
        self._meter = meter
        self._bench = bench
        self._number = number

    @contextmanager
    def running(self, kind: Kind) -> Iterator[Measure]:
        bench = self._bench
        queue, environment = bench.begin()

        def fill(number: int) -> None:
            bench.sampled = kind.sampled
            bench.fill(environment, queue, "/orders", 3, number)

        def told(number: int) -> None:
            wait_until(
                lambda: bench.told() >= number,
                within=self._meter.patience, what="all results", every=0.01,
            )  # fmt: skip

        # The worker finds its queue there.
        fill(1)
        with (
            switched(kind, by_the_second=self._meter.in_time) as more,
            bench.running(environment | more, _IN_FLIGHT, self._meter.of) as process,
        ):
            told(1)
            fill(_IN_FLIGHT)
            told(1 + _IN_FLIGHT)

            def cost() -> float:
                already, before = bench.told(), self._meter.used(process)
                # It is to find all of them there: publishing wants a core of its own.
                process.suspend()
                fill(self._number)
                process.resume()
                told(already + self._number)
                return (self._meter.used(process) - before) / self._number

            yield cost


def in_turns(rounds: int, measures: dict[str, Measure]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {name: [] for name in measures}
    names = list(measures)
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            found[name].append(measures[name]())
    return found


def show(what: str, meter: Meter, found: dict[str, list[float]]) -> None:
    without = found[WITHOUT]
    print(f"{what}: {statistics.median(without) * meter.scale:.0f} {meter.unit} without")
    for name, each in found.items():
        if name == WITHOUT:
            continue
        ratios = sorted(after / before - 1 for before, after in zip(without, each, strict=True))
        print(
            f"  {name:22} {statistics.median(each) * meter.scale:6.0f}: {statistics.median(ratios):+6.1%}"
            f"   (rounds {ratios[0]:+.1%} to {ratios[-1]:+.1%}; less than {LIMIT:.0%} wanted)",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--number", type=int, default=4000, help="replays in each turn")
    parser.add_argument("--seconds", type=float, default=3.0, help="of load in each turn")
    parser.add_argument("--part", choices=("accepting", "replaying"), help="this one alone")
    parser.add_argument("--only", action="append", choices=list(KINDS)[1:], help="these kinds")
    parser.add_argument(
        "--quick", action="store_true", help="see that it works; figures say nothing"
    )
    parser.add_argument(
        "--instructions",
        action="store_true",
        help="by valgrind, in place of CPU time: turns of 12 s and 600 replays, two at the most",
    )
    given = parser.parse_args()
    if given.instructions:
        given.rounds, given.number, given.seconds = min(given.rounds, 2), 600, 12.0
    if given.quick:
        given.rounds, given.number, given.seconds = 1, 50, 0.3
        given.only = given.only or ["metrics, traces 1%"]
    kinds = {name: kind for name, kind in KINDS.items() if not given.only or name in given.only}
    kinds = {WITHOUT: Kind()} | kinds
    for name, accept, replay in alone(200 if given.quick else 20_000):
        print(
            f"calls alone, {name:14} {accept * 1e6:6.1f} us in accepting, {replay * 1e6:6.1f} us in replaying"
        )
    with tempfile.TemporaryDirectory() as directory, servers(Path(directory)) as (kafka, redis_url):
        meter = Instructions(Path(directory)) if given.instructions else CpuTime()
        accepting = Accepting(meter, kafka, redis_url, given.seconds)
        bench = Bench(kafka, redis_url, Path(directory))
        replaying = Replaying(meter, bench, given.number)
        for what, running in (("accepting", accepting.running), ("replaying", replaying.running)):
            if given.part not in {None, what}:
                continue
            with ExitStack() as stack:
                measures = {n: stack.enter_context(running(kind)) for n, kind in kinds.items()}
                # What is done once, the first export and the first scrape.
                time.sleep(0 if given.quick else _ONCE_SECONDS)
                show(what, meter, in_turns(given.rounds, measures))


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/ready").is_success
    except httpx.TransportError:
        return False


if __name__ == "__main__":
    main()
