"""The workers that `pool_bench.py` starts: one module for all of them, chosen by BENCH_*.

It runs in an environment that has every contender installed, and imports only what it is asked for.
"""

import asyncio
import os
import time
from pathlib import Path
from typing import Any

CONTENDER = os.environ["BENCH_CONTENDER"]
REDIS = os.environ["BENCH_REDIS"]
BROKER = os.environ.get("BENCH_BROKER", "")
QUEUE = os.environ["BENCH_QUEUE"]
STARTED = Path(os.environ["BENCH_STARTED"])

_started = False


def start() -> None:
    """Notes when the first task began."""
    global _started  # noqa: PLW0603
    if not _started:
        _started = True
        STARTED.write_text(str(time.time()))


if CONTENDER == "taskiq":
    from taskiq_redis import ListQueueBroker, RedisAsyncResultBackend

    broker = ListQueueBroker(REDIS, queue_name=QUEUE).with_result_backend(
        RedisAsyncResultBackend(REDIS.removesuffix("/0") + "/1")
    )

    @broker.task(task_name="nap")
    async def taskiq_nap(seconds: float) -> None:
        start()
        await asyncio.sleep(seconds)

elif CONTENDER == "arq":
    from arq.connections import RedisSettings

    async def nap(_: Any, seconds: float) -> None:
        start()
        await asyncio.sleep(seconds)

    class WorkerSettings:
        functions = (nap,)
        redis_settings = RedisSettings.from_dsn(REDIS)
        max_jobs = int(os.environ["BENCH_CONCURRENCY"])
        queue_name = QUEUE
        allow_abort_jobs = False

else:
    from celery import Celery

    if BROKER.startswith("kafka"):
        import kafka_transport  # noqa: F401

    app = Celery("bench", broker=BROKER, backend=REDIS.removesuffix("/0") + "/1")
    app.conf.update(
        task_default_queue=QUEUE,
        task_acks_late=True,
        worker_prefetch_multiplier=1,
        broker_connection_retry_on_startup=True,
        broker_transport_options={"group_id": QUEUE}
        if BROKER.startswith("kafka")
        else {"max_connections": 5000},
        redis_max_connections=5000,
    )
    if CONTENDER == "pool":
        app.conf.worker_pool = "respond_async.pool:AsyncioPool"

        @app.task(name="nap")
        async def pool_nap(seconds: float) -> None:
            start()
            await asyncio.sleep(seconds)

        @app.task(name="noop")
        async def pool_noop() -> None:
            start()

        @app.task(name="census")
        async def pool_census() -> dict[str, float]:
            import gc

            import greenlet
            import psutil

            gc.collect()
            process = psutil.Process()
            return {
                "MB": process.memory_info().rss / 1e6,
                "descriptors": process.num_fds(),
                "threads": process.num_threads(),
                "asyncio tasks": len(asyncio.all_tasks()),
                "greenlets": sum(isinstance(each, greenlet.greenlet) for each in gc.get_objects()),
            }

        @app.task(name="asgi")
        async def pool_asgi() -> str:
            from benchmarks.pool_endpoint import call

            start()
            return await call()

    else:

        @app.task(name="nap")
        def sync_nap(seconds: float) -> None:
            start()
            time.sleep(seconds)

        @app.task(name="noop")
        def sync_noop() -> None:
            start()
