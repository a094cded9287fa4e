"""Celery's and kombu's own integration suites on kafka:// and on Celery's Redis broker, compared.

    make upstream [UPSTREAM="--pool threads celery/test_canvas.py ..."]
    python -m tests.upstream [--pool prefork] [--report FILE] [celery | kombu | celery/FILE[::TEST] ...]

Fails unless every test that passes on Redis passes on Kafka, but for those in exceptions.toml, and
these must fail. Servers are local processes; both brokers' runs go side by side. Logs stay in
.cache/upstream/run.
"""

import argparse
import shutil
import signal
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.support.kafka_server import KafkaServer
from tests.support.redis_server import RedisServer
from tests.upstream.sources import CACHE
from tests.upstream.suites import BROKERS, SUITES, Run, Servers
from tests.upstream.verdict import Outcome, counts, problems, read_exceptions

EXCEPTIONS = Path(__file__).with_name("exceptions.toml")


@contextmanager
def servers() -> Iterator[Servers]:
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory()))

        def started(name: str) -> int:
            (root / name).mkdir()
            return stack.enter_context(RedisServer(root / name)).port

        (root / "kafka").mkdir()
        kafka = stack.enter_context(KafkaServer(root / "kafka"))
        results = {broker: started(f"results-{broker}") for broker in BROKERS}
        yield Servers(kafka.bootstrap_servers, results, started("broker"))


def parts(wanted: Sequence[str]) -> dict[str, list[list[str]]]:
    """For each suite the lists of tests to be run in one process each."""
    found: dict[str, list[list[str]]] = {}
    for suite, tests in _by_suite(wanted or list(SUITES)).items():
        if not tests:
            found[suite] = [[file] for file in SUITES[suite].files()]
            continue
        files: dict[str, list[str]] = defaultdict(list)
        for test in tests:
            files[test.partition("::")[0]].append(f"t/integration/{test}")
        found[suite] = list(files.values())
    return found


def _by_suite(wanted: Sequence[str]) -> dict[str, list[str]]:
    suites: dict[str, list[str]] = {}
    for name in wanted:
        suite, _, test = name.partition("/")
        if suite not in SUITES:
            raise SystemExit(f"{name!r}: no such suite; there are {', '.join(SUITES)}")
        tests = suites.setdefault(suite, [])
        if test:
            tests.append(test)
    return suites


def main() -> int:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    arguments.add_argument("tests", nargs="*")
    arguments.add_argument("--pool", default="prefork", help="of Celery's worker, as -P takes it")
    arguments.add_argument("--report", type=Path, help="a file for the comparison, in Markdown")
    given = arguments.parse_args()
    exceptions = read_exceptions(EXCEPTIONS)
    todo = parts(given.tests)
    # So that a `kill` ends what was started, as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    shutil.rmtree(CACHE / "run", ignore_errors=True)
    rows = [f"| file (pool {given.pool}) | Redis | Kafka |", "|---|---|---|"]
    wrong: list[str] = []
    with servers() as local:
        for suite, tests_of_parts in todo.items():
            runs = [prepared(suite, broker, local, given.pool) for broker in BROKERS]
            for tests in tests_of_parts:
                started = time.monotonic()
                redis, kafka = (named(suite, found) for found in side_by_side(runs, tests))
                file = tests[0].partition("::")[0].rpartition("/")[2]
                rows.append(f"| {suite}/{file} | {counts(redis)} | {counts(kafka)} |")
                found = problems(redis, kafka, exceptions)
                print(
                    f"{rows[-1]} {time.monotonic() - started:.0f} s", *found, sep="\n  ", flush=True
                )
                wrong += found
    verdict = [f"- {line}" for line in wrong or ["Kafka passes what Redis passes."]]
    print(*verdict, sep="\n")
    if given.report:
        given.report.write_text("\n".join([*rows, "", *verdict, ""]))
    return bool(wrong)


def prepared(suite: str, broker: str, local: Servers, pool: str) -> Run:
    directory = CACHE / "run" / suite / broker
    SUITES[suite].prepare(directory)
    return Run(SUITES[suite], broker, local, directory, pool)


def side_by_side(runs: Sequence[Run], tests: Sequence[str]) -> list[dict[str, Outcome]]:
    with ThreadPoolExecutor(len(runs)) as threads:
        try:
            return [f.result() for f in [threads.submit(run.outcomes, tests) for run in runs]]
        except BaseException:
            for run in runs:
                run.end()
            raise


def named(suite: str, outcomes: dict[str, Outcome]) -> dict[str, Outcome]:
    """Outcomes by the names that exceptions.toml and the command line use."""
    return {
        f"{suite}/{test.removeprefix('t/integration/')}": outcome
        for test, outcome in outcomes.items()
    }


if __name__ == "__main__":
    sys.exit(main())
