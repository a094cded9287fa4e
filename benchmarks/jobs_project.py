"""The project of jobs_bench: the same function as a job and as a plain Celery task, one worker for both."""

import asyncio
import os
import time

from celery import Celery
from pydantic import SecretStr
from redis import Redis

import kafka_transport  # noqa: F401 - gives Celery the scheme kafka://
from respond_async import JobsWorker, Settings, TaskConfig, task

REDIS = os.environ["BENCH_REDIS"]
QUEUE = os.environ["BENCH_QUEUE"]
#: Where each run says when it began.
STARTS = f"starts-{QUEUE}"
SETTINGS = Settings(
    redis_url=REDIS,
    kafka_topic=QUEUE,
    secret_key=[SecretStr("a secret of the benchmark, long enough")],
)
CONFIG = TaskConfig(max_task_history=1_000_000)

celery = Celery("bench", broker=os.environ["BENCH_BROKER"], backend=REDIS)
celery.conf.update(
    worker_pool="respond_async.pool:AsyncioPool",
    worker_prefetch_multiplier=1,
    task_acks_late=True,
    broker_connection_retry_on_startup=True,
    broker_transport_options={"group_id": QUEUE} if "kafka" in os.environ["BENCH_BROKER"] else {},
    task_default_queue=QUEUE,
)
JobsWorker(celery, SETTINGS, CONFIG)

_store = Redis.from_url(REDIS)


async def _began(number: int) -> None:
    now = time.time()
    await asyncio.to_thread(_store.rpush, STARTS, f"{number} {now!r}")


@celery.task(name="plain")
async def plain(number: int) -> None:
    """What `apply_async` publishes."""
    await _began(number)


@celery.task(name="forgotten", ignore_result=True)
async def forgotten(number: int) -> None:
    """The same, of which nobody can hear."""
    await _began(number)


@task(name="job")
async def job(number: int) -> None:
    """What `create_task` creates."""
    await _began(number)
