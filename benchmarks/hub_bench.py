"""The hub with ten thousand clients, and beside a hub with a Redis connection for each socket.

    python benchmarks/hub_bench.py [--quick] [--connections 10000] [--only fanout,naive,latency]

One hub process (`uvicorn ws_hub.main:app` with the options of compose.yaml) and one Redis; the
clients and the publisher are processes of their own. Memory is what the hub's resident set grows by
from its 100th connection on, and Redis' own beside it; the kernel's socket buffers are not in it.
"""

import argparse
import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import redis
import yaml

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.hub_clients import Crowd, channel  # noqa: E402
from tests.support.ports import free_port  # noqa: E402
from tests.support.redis_server import RedisServer  # noqa: E402
from tests.support.waiting import wait_until  # noqa: E402

#: The least that is asked of the hub.
P99_SECONDS = 1.0
KB_A_CONNECTION = 30.0
TIMES_NAIVE = 5.0
P50_MILLISECONDS = 5.0

_WARM = 100
_QUERIES = {"hub": "protocol=2&channel={channel}", "v1": "channel={channel}"}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="few connections: that it runs")
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--naive-connections", type=int, default=1_000)
    parser.add_argument("--only", default="fanout,v1,naive,latency")
    parser.add_argument(
        "--server", default=None, help="uvicorn's options, instead of compose.yaml's"
    )
    parser.add_argument("--json", type=Path, help="where to write the figures")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.connections = arguments.naive_connections = 300
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    options = arguments.server.split() if arguments.server is not None else compose_options()
    wanted = arguments.only.split(",")
    results: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as directory, RedisServer(Path(directory)) as redis_server:
        url = redis_server.url
        if "fanout" in wanted:
            results["fanout"] = run("hub", url, options, arguments.connections)
        if "v1" in wanted:
            results["v1"] = run("v1", url, options, arguments.connections)
        if "naive" in wanted:
            # As one starts it, and with the options that were found for ours.
            results["naive"] = run("naive", url, [], arguments.naive_connections)
            results["naive, tuned"] = run("naive", url, options, arguments.naive_connections)
        if "latency" in wanted:
            results["latency"] = latency(url, options, 50 if arguments.quick else 1000)
    print(table(results))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2))


def compose_options() -> list[str]:
    """What compose.yaml starts the hub with, but for address, port and logs."""
    command = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["hub"]["command"]
    options = [str(part) for part in command[2:]]
    for name in ("--host", "--port", "--log-config"):
        at = options.index(name)
        del options[at : at + 2]
    return options


@contextmanager
def served(app: str, url: str, options: list[str]) -> Iterator[tuple[psutil.Process, int]]:
    port = free_port()
    command = [
        sys.executable, "-m", "uvicorn", app, "--port", str(port), "--log-level", "warning",
        "--backlog", "4096", *options,
    ]  # fmt: skip
    environment = os.environ | {
        "REDIS_URL": url,
        "SECRET_KEY": "k" * 64,
        "HUB_CONNECTIONS_PER_ADDRESS": "0",
        # What is measured is one message, not how many pings fall into the second.
        "HUB_PING_INTERVAL_SECONDS": "300",
    }
    process = subprocess.Popen(command, cwd=ROOT, env=environment)
    try:
        wait_until(lambda: _lives(port), within=30, what=f"{app} is up")
        yield psutil.Process(process.pid), port
    finally:
        process.kill()
        process.wait()


def run(kind: str, url: str, options: list[str], connections: int) -> dict[str, float]:
    app = "benchmarks.hub_naive:app" if kind == "naive" else "ws_hub.main:app"
    with served(app, url, options) as (process, port):
        return asyncio.run(_run(kind, url, process, port, connections))


async def _run(
    kind: str, url: str, process: psutil.Process, port: int, connections: int
) -> dict[str, float]:
    crowd = Crowd(port, _QUERIES.get(kind, "channel={channel}"))
    try:
        await crowd.join(_WARM)
        before, redis_before = process.memory_info().rss, _redis_bytes(url)
        began = time.monotonic()
        await crowd.join(connections - _WARM)
        joined = time.monotonic() - began
        after, redis_after = process.memory_info().rss, _redis_bytes(url)
        cpu = _cpu(process)
        publisher = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "benchmarks.hub_publish", url, kind, str(connections), cwd=ROOT
        )
        await crowd.hear(connections, within=60)
        await publisher.wait()
        spent = _cpu(process) - cpu
    finally:
        crowd.close()
    latencies = sorted(crowd.latencies) or [float("inf")]
    return {
        "connections": connections,
        "delivered": len(crowd.latencies),
        "p50_ms": statistics.median(latencies) * 1000,
        "p99_ms": latencies[int(len(latencies) * 0.99)] * 1000,
        "kb_a_connection": (after - before) / (connections - _WARM) / 1024,
        "kb_in_redis": (redis_after - redis_before) / (connections - _WARM) / 1024,
        "cpu_us_a_message": spent / connections * 1e6,
        "joined_a_second": (connections - _WARM) / joined,
    }


def latency(url: str, options: list[str], messages: int) -> dict[str, float]:
    with served("ws_hub.main:app", url, options) as (_, port):
        return asyncio.run(_latency(url, port, messages))


async def _latency(url: str, port: int, messages: int) -> dict[str, float]:
    """One message at a time from another thread, as a worker's signal sends it, 100 connections."""
    from ws_hub import anonymous_channel, publish

    crowd = Crowd(port, _QUERIES["hub"])
    await crowd.join(100)
    with redis.Redis.from_url(url) as client:
        for number in range(messages):
            name = anonymous_channel(channel(number % 100))
            message = {"type": "data", "data": repr(time.time())}
            await asyncio.to_thread(publish, client, name, message)
            await crowd.hear(number + 1, within=5)
    crowd.close()
    latencies = sorted(crowd.latencies)
    return {
        "connections": 100,
        "delivered": len(latencies),
        "p50_ms": statistics.median(latencies) * 1000,
        "p99_ms": latencies[int(len(latencies) * 0.99)] * 1000,
    }


def table(results: dict[str, dict[str, float]]) -> str:
    columns = (
        "connections",
        "delivered",
        "p50_ms",
        "p99_ms",
        "kb_a_connection",
        "kb_in_redis",
        "cpu_us_a_message",
        "joined_a_second",
    )
    lines = [f"{'':14}" + "".join(f"{name:>18}" for name in columns)]
    for kind, found in results.items():
        cells = (f"{found[name]:18.1f}" if name in found else f"{'':18}" for name in columns)
        lines.append(f"{kind:14}" + "".join(cells))
    return "\n".join([*lines, "", *_verdicts(results)])


def _verdicts(results: dict[str, Any]) -> Iterator[str]:
    fanout, quick = results.get("fanout"), results.get("latency")
    if fanout:
        yield _verdict("all delivered", fanout["delivered"] == fanout["connections"], "")
        yield _verdict(
            "p99 under 1 s", fanout["p99_ms"] < P99_SECONDS * 1000, f"{fanout['p99_ms']:.0f} ms"
        )
        memory = fanout["kb_a_connection"]
        yield _verdict("under 30 KB a connection", memory < KB_A_CONNECTION, f"{memory:.1f} KB")
        for name in ("naive", "naive, tuned"):
            if name in results:
                times = _memory(results[name]) / _memory(fanout)
                what = f"5x the connections of a hub that is {name}, at equal memory"
                yield _verdict(what, held=times >= TIMES_NAIVE, figure=f"{times:.1f}x")
    if quick:
        yield _verdict(
            "p50 under 5 ms", quick["p50_ms"] < P50_MILLISECONDS, f"{quick['p50_ms']:.2f} ms"
        )


def _verdict(what: str, held: bool, figure: str) -> str:  # noqa: FBT001
    return f"{'held' if held else 'MISSED':8}{what} {figure}"


def _memory(found: dict[str, float]) -> float:
    return found["kb_a_connection"] + found["kb_in_redis"]


def _redis_bytes(url: str) -> int:
    with redis.Redis.from_url(url) as client:
        return int(client.info("memory")["used_memory"])


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def _lives(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/livez", timeout=1) as response:
            return bool(response.status == 200)
    except OSError:
        return False


if __name__ == "__main__":
    main()
