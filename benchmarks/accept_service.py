"""What accept_bench asks: one server process, an endpoint for each way to take a request."""

import gc
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaProducer
from celery import Celery
from fastapi import FastAPI, Response
from fastapi.telemetry import TelemetryConfig
from pydantic import BaseModel, SecretStr

import kafka_transport  # noqa: F401 - gives Celery the scheme kafka://
from config.tracing import configure_tracing
from respond_async import AsyncRequests, Settings

# Where the environment names a collector.
configure_tracing()
#: FastAPI makes spans of its own where there is a tracer provider.
TELEMETRY: TelemetryConfig = {"tracing": os.environ.get("BENCH_FASTAPI_SPANS") == "1"}

KAFKA, REDIS = os.environ["BENCH_KAFKA"], os.environ["BENCH_REDIS"]
TOPIC = "accept-bench"
BARE_TOPIC = os.environ["BENCH_BARE_TOPIC"]

celery = Celery("bench", broker=f"kafka://{KAFKA}", backend=REDIS)
celery.conf.broker_transport_options = {
    "statistics_seconds": float(os.environ.get("BENCH_STATISTICS_SECONDS", "0"))
}
on_redis = Celery("on_redis", broker=REDIS, backend=REDIS, set_as_current=False)
held: list[AIOKafkaProducer] = []


@on_redis.task
def nothing(order: dict[str, object]) -> None:
    """What `apply_async` publishes."""


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    producer = AIOKafkaProducer(bootstrap_servers=KAFKA, acks="all", enable_idempotence=True)
    await producer.start()
    held.append(producer)
    gc.collect()
    gc.freeze()
    yield
    await producer.stop()


app = FastAPI(lifespan=lifespan, telemetry=TELEMETRY)
AsyncRequests(
    app,
    celery=celery,
    settings=Settings(
        redis_url=REDIS,
        kafka_topic=TOPIC,
        secret_key=[SecretStr("a secret of the benchmark, long enough")],
    ),
)


class Order(BaseModel):
    article: str
    pieces: int


@app.post("/orders")
async def orders(order: Order) -> dict[str, object]:
    return {"article": order.article, "pieces": order.pieces, "state": "ordered"}


@app.post("/aiokafka", status_code=202)
async def aiokafka(order: Order) -> dict[str, str]:
    await held[0].send_and_wait(BARE_TOPIC, order.model_dump_json().encode())
    return {"state": "accepted"}


@app.post("/apply_async", status_code=202)
def apply_async(order: Order) -> dict[str, str]:
    return {"id": nothing.apply_async((order.model_dump(),)).id}


@app.get("/ready")
async def ready() -> Response:
    return Response()
