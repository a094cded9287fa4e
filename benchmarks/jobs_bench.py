"""Background jobs: from their creation to their begin, beside plain Celery; and a long history.

    python benchmarks/jobs_bench.py [--quick] [--rounds 5] [--number 200] [--history 100000]

A job and a plain task of the same function are sent in turns by one process, over one broker, to
one worker with the asyncio pool; the time is from the call (`create_task`, `apply_async`) to the
function's first line. A plain task has a result, as Celery gives it, or ignores it. Kafka:
KAFKA_TEST_BOOTSTRAP_SERVERS, or one that is started here.
"""

import argparse
import asyncio
import importlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis
import redis.asyncio

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.servers import servers  # noqa: E402
from respond_async import Status, create_task, list_tasks  # noqa: E402
from respond_async.jobs import scripts  # noqa: E402
from respond_async.jobs.record import Spec  # noqa: E402
from respond_async.jobs.runtime import current  # noqa: E402
from respond_async.jobs.worker import PRUNED_AT_ONCE  # noqa: E402

OWNERS, NAMES, AT_ONCE, TURNS = 100, 10, 500, 30
TARGET = 1.3


class Starts:
    """Sends one at a time, from a running event loop, and waits until it has begun."""

    def __init__(self, project: Any) -> None:
        self._project = project
        self._store = redis.asyncio.Redis.from_url(project.REDIS, socket_timeout=150)

    async def turns(self, number: int) -> dict[str, tuple[float, float]]:
        """Of each sender, p50 in milliseconds, and the CPU milliseconds of one call."""
        waited: dict[str, list[float]] = {name: [] for name in SENDERS}
        cost = dict.fromkeys(SENDERS, 0.0)
        for _ in range(number):
            for name, send in SENDERS.items():
                begun, before = time.time(), time.process_time()
                await send(self._project)
                cost[name] += time.process_time() - before
                said: Any = await self._store.blpop([self._project.STARTS], timeout=120)
                assert said is not None, f"{name} did not begin"
                waited[name].append((float(said[1].split()[1]) - begun) * 1000)
        return {
            name: (statistics.median(each), cost[name] / number * 1000)
            for name, each in waited.items()
        }

    async def close(self) -> None:
        await self._store.aclose()


async def _plain(project: Any) -> None:
    # Blocks the loop, which is the quickest way to do it.
    project.plain.apply_async((1,))


async def _forgotten(project: Any) -> None:
    project.forgotten.apply_async((1,))


async def _job(project: Any) -> None:
    await create_task(project.job, 1)


SENDERS: dict[str, Callable[[Any], Awaitable[None]]] = {
    "apply_async": _plain,
    "the same, ignore_result": _forgotten,
    "create_task": _job,
}


async def starts(project: Any, rounds: int, number: int, broker: str) -> None:
    sent = Starts(project)
    await sent.turns(max(10, number // 10))
    found = [await sent.turns(number) for _ in range(rounds)]
    await sent.close()
    await current().close()
    print(f"\nfrom the call to the function's first line, over {broker}")
    for name in SENDERS:
        p50 = [each[name][0] for each in found]
        cpu = statistics.median(each[name][1] for each in found)
        print(
            f"  {name:24} p50 {statistics.median(p50):6.2f} ms ({min(p50):.2f} to {max(p50):.2f})"
            f"   caller's CPU {cpu:5.2f} ms"
        )
    for name in list(SENDERS)[:2]:
        ratios = [each["create_task"][0] / each[name][0] for each in found]
        print(
            f"  create_task / {name:24} {statistics.median(ratios):5.2f}"
            f" ({min(ratios):.2f} to {max(ratios):.2f}), at most {TARGET}",
            flush=True,
        )


@contextmanager
def worker(log: Path) -> Iterator[None]:
    command = [
        sys.executable,
        "-m",
        "celery",
        "-A",
        "benchmarks.jobs_project",
        "worker",
        "-l",
        "WARNING",
    ]
    with log.open("ab") as out:
        running = subprocess.Popen(command, cwd=ROOT, env=os.environ, stdout=out, stderr=out)
    try:
        yield
    finally:
        running.kill()
        running.wait()


def fill(jobs: Any, definition: Any, store: "redis.Redis", number: int) -> None:
    """So many jobs that have completed, by the scripts that would have made them."""
    for script in (scripts.CREATE, scripts.BEGIN, scripts.END):
        store.script_load(script.text)
    for start in range(0, number, AT_ONCE):
        pipe = store.pipeline(transaction=False)
        for n in range(start, min(start + AT_ONCE, number)):
            job_id, channel = str(uuid.uuid4()), f"user.{n % OWNERS}"
            spec = Spec(arguments={"number": n}, channel=channel)
            fields = jobs.fields(definition, spec, job_id, name=f"job {n % NAMES}")
            result = jobs.sealer.seal(b"null", job_id)
            evalsha: Any = pipe.evalsha
            evalsha(scripts.CREATE.sha, 0, job_id, "", "", 1, *fields)
            evalsha(scripts.BEGIN.sha, 0, job_id, job_id, 10_000, 5, "", *jobs.kept, 0, 0, 0, 0, 0)
            evalsha(
                scripts.END.sha,
                0,
                job_id,
                job_id,
                Status.COMPLETED,
                "",
                *jobs.kept,
                "result",
                result,
            )
        pipe.execute()


class Timed:
    """What a call takes: on the clock, of our CPU, and of Redis', where all others wait meanwhile."""

    def __init__(self, store: "redis.Redis") -> None:
        self._store = store
        self._took: list[float] = []
        self._cpu = 0.0

    @contextmanager
    def call(self) -> Iterator[None]:
        if not self._took:
            self._store.config_resetstat()
        begun, before = time.perf_counter(), time.process_time()
        yield
        self._took.append((time.perf_counter() - begun) * 1000)
        self._cpu += time.process_time() - before

    def __str__(self) -> str:
        info: Any = self._store.info("commandstats")
        return (
            f"p50 {statistics.median(self._took):6.2f} ms, CPU {self._cpu * 1000 / len(self._took):5.2f} ms,"
            f" of Redis' {info['cmdstat_evalsha']['usec_per_call'] / 1000:5.2f} ms"
        )


async def pages(store: "redis.Redis", number: int) -> None:
    """Pages of the list."""
    owner, last = "user.7", None
    for _ in range(number // OWNERS // 2 // 50):
        last = (await list_tasks(channel=owner, limit=50, cursor=last)).cursor
    lists: dict[str, dict[str, Any]] = {
        "of all": {},
        "of an owner": {"channel": owner},
        "of an owner, by status and name": {
            "channel": owner,
            "status": Status.COMPLETED,
            "name": "job 7",
        },
        "of an owner, half-way": {"channel": owner, "cursor": last},
    }
    print(f"\n{number:,} jobs in history; a page of 50")
    for name, asked in lists.items():
        timed = Timed(store)
        for _ in range(TURNS):
            with timed.call():
                page = await list_tasks(limit=50, **asked)
        assert page.jobs
        print(f"  {name:34} {timed}")
    await current().close()


def prune(store: "redis.Redis", number: int) -> None:
    """Scripts that prune, each as much as a worker does at once."""
    store.script_load(scripts.PRUNE.text)
    print("one prune")
    for name, some in (("nothing due", 0), (f"{PRUNED_AT_ONCE} of them", PRUNED_AT_ONCE)):
        timed = Timed(store)
        for _ in range(TURNS):
            number -= some
            with timed.call():
                removed = scripts.PRUNE.run(store, (), ("1e6", number, PRUNED_AT_ONCE))
            assert removed == some
        print(f"  {name:34} {timed}")


def project(broker: str, redis_url: str) -> Any:
    """The project's module, anew: it reads where its servers are when it is imported."""
    os.environ |= {
        "BENCH_BROKER": broker,
        "BENCH_REDIS": redis_url,
        "BENCH_QUEUE": f"jobs-bench-{uuid.uuid4().hex[:8]}",
        "PYTHONPATH": str(ROOT),
    }
    sys.modules.pop("benchmarks.jobs_project", None)
    return importlib.import_module("benchmarks.jobs_project")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--number", type=int, default=200)
    parser.add_argument("--history", type=int, default=100_000)
    parser.add_argument("--only", default="kafka,redis,history")
    parser.add_argument(
        "--quick", action="store_true", help="see that it works; figures say nothing"
    )
    given = parser.parse_args()
    if given.quick:
        given.rounds, given.number, given.history = 1, 10, 5000
    only = set(given.only.split(","))
    with tempfile.TemporaryDirectory() as name, servers(Path(name)) as (kafka, redis_url):
        log = Path(name) / "worker.log"
        for broker in (f"kafka://{kafka}", redis_url):
            if broker.partition(":")[0] in only:
                made = project(broker, redis_url)
                with worker(log):
                    asyncio.run(starts(made, given.rounds, given.number, broker.partition(":")[0]))
        if "history" in only:
            made = project(redis_url, redis_url)
            with redis.Redis.from_url(redis_url) as store:
                store.flushall()
                fill(current(), made.job.definition, store, given.history)
                asyncio.run(pages(store, given.history))
                prune(store, given.history)


if __name__ == "__main__":
    main()
