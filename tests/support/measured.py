"""An app whose requests end in every way: for the tests of metrics and logs. `ASGI_APP` names it."""

import asyncio
import time
from collections import Counter
from typing import Any

from fastapi import Depends, FastAPI, Request

import config
from respond_async import AsyncRequests, Problem, Retry, async_options
from respond_async.request_ids import RequestIds
from ws_hub import Hub

__all__ = ["app"]

app = FastAPI()
AsyncRequests(app, celery="tasks:celery", settings=config.settings)
Hub(config.settings).install(app)
RequestIds.install(app)

attempts: Counter[str] = Counter()
retried = async_options(retries=Retry(statuses=frozenset({503}), times=3, backoff_seconds=0.1))


@app.get("/livez")
async def livez() -> None:
    """For `Service`, which waits for it."""


@app.post("/orders/{number}")
async def order(number: int, request: Request) -> dict[str, Any]:
    return {"number": number, "body": (await request.body()).decode()}


@app.get("/refuses")
async def refuses() -> None:
    raise Problem(409, "It is refused.")


@app.get("/breaks")
async def breaks() -> None:
    raise RuntimeError("it breaks")


@app.get("/flaky/{name}", dependencies=[Depends(retried)])
async def flaky(name: str) -> None:
    """Fails once for each name."""
    attempts[name] += 1
    if attempts[name] == 1:
        raise Problem(503, "Try again.")


@app.get("/blocks/{seconds}")
async def blocks(seconds: float) -> None:
    """Blocks the event loop, as endpoints must not."""
    time.sleep(seconds)


@app.get("/waits/{seconds}")
async def waits(seconds: float) -> None:
    await asyncio.sleep(seconds)
