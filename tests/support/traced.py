"""An app and jobs that say which trace they run in: for the tests of traces. `ASGI_APP` names it."""

import logging
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

from fastapi import Depends, FastAPI, Request
from opentelemetry import baggage, trace

import config
from respond_async import (
    AsyncRequests,
    Jobs,
    Problem,
    Retry,
    RetryOn,
    async_options,
    create_task,
    task,
    wait_for_task,
)

__all__ = ["app"]

app = FastAPI()
AsyncRequests(app, celery="tasks:celery", settings=config.settings)
Jobs("tasks:celery", config.settings)

logger = logging.getLogger(__name__)
tracer = trace.get_tracer("the app's own")
attempts: Counter[str] = Counter()
retried = async_options(retries=Retry(statuses=frozenset({503}), times=3, backoff_seconds=0.1))


def where() -> dict[str, Any]:
    context = trace.get_current_span().get_span_context()
    return {"trace": f"{context.trace_id:032x}", "baggage": dict(baggage.get_all())}


@app.get("/livez")
async def livez() -> None:
    """For `Service`, which waits for it."""


@app.post("/orders/{number}")
async def order(number: int, request: Request) -> dict[str, Any]:
    await request.body()
    with tracer.start_as_current_span("own work"):
        logger.info("order %d", number)
        return where()


@app.get("/in-thread/{number}")
def in_thread(number: int) -> dict[str, Any]:
    with tracer.start_as_current_span("own work"):
        return where()


@app.get("/flaky/{name}", dependencies=[Depends(retried)])
async def flaky(name: str) -> dict[str, Any]:
    """Fails once for each name."""
    attempts[name] += 1
    if attempts[name] == 1:
        raise Problem(503, "Try again.")
    return where()


@app.get("/breaks")
async def breaks() -> None:
    raise RuntimeError("words-of-the-error")


@app.get("/kills/{name}")
async def kills(name: str) -> dict[str, Any]:
    """Its worker dies the first time."""
    mark = Path(os.environ["TRACED_DIRECTORY"]) / name
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return where()


@app.post("/jobs/{name}")
async def make_job(name: str) -> dict[str, Any]:
    job = await create_task(unsteady, name)
    return {"id": job.id, **where()}


@app.get("/jobs/{job_id}")
async def ended_job(job_id: str) -> Any:
    return (await wait_for_task(job_id, 20)).result


@task(name="traced.unsteady", retry=[RetryOn(exceptions=(ConnectionError,), delay=0.1)])
def unsteady(label: str) -> dict[str, Any]:
    """Fails once for each label."""
    attempts[label] += 1
    if attempts[label] == 1:
        raise ConnectionError(label)
    with tracer.start_as_current_span("own work"):
        return where()
