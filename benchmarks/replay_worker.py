"""The worker of replay_bench: Celery with the asyncio pool, and an app with a trivial endpoint."""

import asyncio
import os
import time
from pathlib import Path

from celery import Celery, signals
from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig
from pydantic import BaseModel, SecretStr

import kafka_transport  # noqa: F401 - gives Celery the scheme kafka://
from config.tracing import configure_tracing
from respond_async import AsyncRequests, Settings

# Where the environment names a collector.
configure_tracing()
#: FastAPI makes spans of its own where there is a tracer provider.
TELEMETRY: TelemetryConfig = {"tracing": os.environ.get("BENCH_FASTAPI_SPANS") == "1"}

QUEUE = os.environ["BENCH_QUEUE"]
SETTINGS = Settings(
    redis_url=os.environ["BENCH_REDIS"],
    kafka_topic=QUEUE,
    secret_key=[SecretStr("a secret of the benchmark, long enough")],
)

celery = Celery(
    "bench", broker=f"kafka://{os.environ['BENCH_KAFKA']}", backend=os.environ["BENCH_REDIS"]
)
celery.conf.update(
    worker_pool="respond_async.pool:AsyncioPool",
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
    broker_transport_options={
        "group_id": QUEUE,
        "statistics_seconds": float(os.environ.get("BENCH_STATISTICS_SECONDS", "0")),
    },
)

app = FastAPI(telemetry=TELEMETRY)
AsyncRequests(app, celery=celery, settings=SETTINGS)
AsyncRequests.worker(celery, app="benchmarks.replay_worker:app", settings=SETTINGS)


class Order(BaseModel):
    article: str
    pieces: int


@app.post("/orders")
async def orders(order: Order) -> dict[str, object]:
    return {"article": order.article, "pieces": order.pieces, "state": "ordered"}


@app.post("/waits")
async def waits(order: Order) -> dict[str, object]:
    await asyncio.sleep(order.pieces)
    return {}


@signals.task_prerun.connect
def _first(**_: object) -> None:
    """Notes when the first replay begins."""
    Path(os.environ["BENCH_STARTED"]).write_text(repr(time.time()))
    signals.task_prerun.disconnect(_first)
