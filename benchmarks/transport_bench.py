"""kafka:// beside Celery on Redis, kombu's stock confluentkafka:// and memory://, taking turns.

    python benchmarks/transport_bench.py [--quick] [--rounds 5] [--only publish,drain] [--json FILE]

Rows: publish, confirmed, drain, prefork, idle, backlog, start (--only takes any of them). In each
round every broker has its turn, every turn is a process of its own; the figures are medians over
the rounds with the lowest and the highest. Kafka: KAFKA_TEST_BOOTSTRAP_SERVERS, or one that is
started here. --quick is a smoke test: its figures mean nothing.
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import psutil
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.servers import servers  # noqa: E402
from benchmarks.transport_turns import Failed, Sizes, Turns  # noqa: E402

FULL: Final = Sizes(
    publish=10_000, drain=50_000, latency=300, idle_seconds=20, few=10_000, many=1_000_000,
    stock=50_000,
)  # fmt: skip
QUICK: Final = Sizes(
    publish=320, drain=500, latency=20, idle_seconds=1, few=200, many=2_000, stock=5
)

#: One round's figures of one turn.
Sample = dict[str, float]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table of targets: a figure of one contender against that of another."""

    what: str
    figure: str
    ours: str
    against: str
    #: The ratio that is wanted; above 1 is better whichever way the figure counts. None: no target.
    target: float | None
    lower_is_better: bool = False

    def ratio(self, samples: dict[str, list[Sample]]) -> float | None:
        ours, theirs = (median(samples, who, self.figure) for who in (self.ours, self.against))
        if not ours or not theirs:
            return None
        return theirs / ours if self.lower_is_better else ours / theirs


@dataclass(frozen=True, slots=True)
class Benchmark:
    """Contenders that take turns, and what is read off their figures."""

    contenders: dict[str, Callable[[Turns], Sample]]
    rows: tuple[Row, ...]


def _publish(broker: str, threads: int = 1, *, confirm: bool = False) -> Callable[[Turns], Sample]:
    return lambda turns: turns.publish(broker, threads, confirm=confirm)


def _drain(broker: str, *options: str) -> Callable[[Turns], Sample]:
    return lambda turns: turns.drain(broker, *options)


def _idle(broker: str) -> Callable[[Turns], Sample]:
    return lambda turns: turns.idle(broker)


SOLO: Final = ("-P", "solo")
PREFORK: Final = ("-P", "prefork", "-c", "2")

BENCHMARKS: Final[dict[str, Benchmark]] = {
    "publish": Benchmark(
        {who: _publish(who) for who in ("kafka", "redis", "memory", "stock")},
        (
            Row("publish, pipelined, msg/s", "rate", "kafka", "redis", 2.5),
            Row("publish, pipelined, msg/s", "rate", "kafka", "memory", 0.95),
            Row("publish, pipelined, msg/s", "rate", "kafka", "stock", 2.5),
            Row("publish, pipelined, CPU us/msg", "cpu_us", "kafka", "memory", None, lower_is_better=True),
        ),
    ),
    "confirmed": Benchmark(
        {
            "kafka": _publish("kafka", 32, confirm=True),
            "redis": _publish("redis", 32),
        },
        (
            Row("publish, confirmed, 32 threads, msg/s", "rate", "kafka", "redis", 2.0),
            Row("publish, confirmed, CPU us/msg", "cpu_us", "kafka", "redis", None, lower_is_better=True),
        ),
    ),
    "drain": Benchmark(
        {who: _drain(who, *SOLO) for who in ("kafka", "redis", "stock")},
        (
            Row("drain, solo, acks_late, msg/s", "rate", "kafka", "redis", 5.0),
            Row("drain, solo, acks_late, msg/s", "rate", "kafka", "stock", 2.5),
            Row("drain, solo, CPU us/msg", "cpu_us", "kafka", "redis", None, lower_is_better=True),
        ),
    ),
    "prefork": Benchmark(
        {who: _drain(who, *PREFORK) for who in ("kafka", "redis")},
        (
            Row("drain, prefork -c 2, msg/s", "rate", "kafka", "redis", 2.0),
            Row("drain, prefork, CPU us/msg", "cpu_us", "kafka", "redis", None, lower_is_better=True),
        ),
    ),
    "idle": Benchmark(
        {who: _idle(who) for who in ("kafka", "redis", "stock")},
        (
            Row("send to result, p50 ms", "p50", "kafka", "redis", 1.0, lower_is_better=True),
            Row("send to result, p50 ms", "p50", "kafka", "stock", 1.0, lower_is_better=True),
            Row("send to result, p99 ms", "p99", "kafka", "redis", 1.0, lower_is_better=True),
            Row("send to result, p99 ms", "p99", "kafka", "stock", 1.0, lower_is_better=True),
            Row("idle worker, CPU ms/s", "cpu_ms", "kafka", "redis", 1.0, lower_is_better=True),
        ),
    ),
    "backlog": Benchmark(
        {"many": lambda turns: turns.backlog("many"), "few": lambda turns: turns.backlog("few")},
        (
            Row("drain with many waiting, msg/s", "rate", "many", "few", 0.95),
            Row("worker's memory then, MB", "rss_mb", "many", "few", None, lower_is_better=True),
        ),
    ),
    "start": Benchmark(
        {who: (lambda turns, who=who: turns.start(who)) for who in ("kafka", "redis")},
        (Row("start to first task, s", "seconds", "kafka", "redis", None, lower_is_better=True),),
    ),
}  # fmt: skip


def median(samples: dict[str, list[Sample]], who: str, figure: str) -> float | None:
    found = [each[figure] for each in samples.get(who, []) if figure in each]
    return statistics.median(found) if found else None


def run(turns: Turns, names: list[str], rounds: int, console: Console) -> dict[str, object]:
    """Every benchmark, its contenders in turn; a contender that failed is not asked again."""
    results: dict[str, object] = {}
    for name in names:
        benchmark = BENCHMARKS[name]
        samples: dict[str, list[Sample]] = defaultdict(list)
        failures: dict[str, str] = {}
        for turn in range(rounds):
            for who, measure in benchmark.contenders.items():
                if who in failures:
                    continue
                try:
                    samples[who].append(measure(turns))
                except Failed as error:
                    failures[who] = str(error)
                said = failures.get(who) or _short(samples[who][-1])
                console.print(f"[dim]{name} {turn + 1}/{rounds} {who}: {said}", highlight=False)
        console.print(table(name, benchmark, samples, failures))
        results[name] = {
            "samples": samples,
            "failures": failures,
            "rows": [asdict(row) | {"ratio": row.ratio(samples)} for row in benchmark.rows],
        }
    return results


def table(
    name: str, benchmark: Benchmark, samples: dict[str, list[Sample]], failures: dict[str, str]
) -> Table:
    made = Table("what", "median (low to high)", "against", "ratio", "at least", title=name)
    for row in benchmark.rows:
        ratio = row.ratio(samples)
        reached = ratio is not None and (row.target is None or ratio >= row.target)
        made.add_row(
            row.what,
            _spread(samples, row.ours, row.figure),
            f"{row.against} {_spread(samples, row.against, row.figure)}",
            "-" if ratio is None else f"[{'green' if reached else 'red'}]{ratio:.2f}x",
            "" if row.target is None else f"{row.target:g}x",
        )
    made.caption = "\n".join(f"{who}: {why}" for who, why in failures.items()) or None
    return made


def _spread(samples: dict[str, list[Sample]], who: str, figure: str) -> str:
    found = [each[figure] for each in samples.get(who, []) if figure in each]
    if not found:
        return "-"
    return f"{statistics.median(found):,.4g} ({min(found):,.4g} to {max(found):,.4g})"


def _short(sample: Sample) -> str:
    return ", ".join(f"{name} {value:,.5g}" for name, value in sample.items())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small numbers, one round")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--only", default=",".join(BENCHMARKS), help="rows, comma-separated")
    parser.add_argument("--without", default="", help="contenders to leave out, comma-separated")
    parser.add_argument("--json", type=Path, help="write all samples to this file")
    given = parser.parse_args()
    names, without = given.only.split(","), set(given.without.split(","))
    for unknown in set(names) - BENCHMARKS.keys():
        parser.error(f"no such row: {unknown}")
    for benchmark in BENCHMARKS.values():
        for who in without & benchmark.contenders.keys():
            del benchmark.contenders[who]
    console = Console() if sys.stdout.isatty() else Console(width=130)
    with tempfile.TemporaryDirectory() as name, servers(Path(name)) as (kafka, redis_url):
        turns = Turns(kafka, redis_url, Path(name), QUICK if given.quick else FULL)
        rounds = given.rounds or (1 if given.quick else 5)
        results = run(turns, names, rounds, console)
    if given.json:
        machine = {"cores": psutil.cpu_count(), "python": sys.version.split()[0]}
        given.json.write_text(
            json.dumps({"machine": machine, "rounds": rounds, "results": results}, indent=1)
        )


if __name__ == "__main__":
    main()
