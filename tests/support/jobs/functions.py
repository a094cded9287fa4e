"""Jobs of the tests. What they do is noted in Redis, in the list that the test names."""

import asyncio
import json
import logging
import os
import time
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Annotated

import redis
from fastapi import Depends
from pydantic import BaseModel

from respond_async import (
    Identity,
    Job,
    RetryOn,
    TaskConfig,
    TaskError,
    current_identity,
    task,
    update_progress,
)

#: Of app and worker.
CONFIG = TaskConfig(
    **{
        "webhook_secret": "a secret of receivers",
        "max_concurrent_per_owner": 4,
        **json.loads(os.environ.get("JOBS_CONFIG", "{}")),
    }
)

logger = logging.getLogger(__name__)


def note(where: str, what: str) -> None:
    with redis.Redis.from_url(os.environ["REDIS_URL"]) as client:
        client.rpush(where, what)


def noted_in(file: str, what: str) -> None:
    """For tests that take Redis away."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        os.write(descriptor, f"{what}\n".encode())
    finally:
        os.close(descriptor)


async def _stepped(file: str, label: str, seconds: float) -> str:
    noted_in(file, f"began {label}")
    await asyncio.sleep(seconds)
    noted_in(file, f"done {label}")
    return label


@task(name="jobs.step")
async def step(file: str, label: str, seconds: float) -> str:
    return await _stepped(file, label, seconds)


@task(name="jobs.step_once", idempotent=False)
async def step_once(file: str, label: str, seconds: float) -> str:
    return await _stepped(file, label, seconds)


@task
async def tomorrow(now: datetime) -> datetime:
    await asyncio.sleep(0)
    return now + timedelta(days=1)


@task(name="jobs.doubled")
def doubled(number: int, times: int = 2) -> int:
    return number * times


@task
async def forever(where: str) -> None:
    note(where, "began")
    try:
        await asyncio.sleep(600)
    finally:
        note(where, "left")


@task(idempotent=False)
async def forever_once(where: str) -> None:
    note(where, "began")
    await asyncio.sleep(600)


@task
def spinning(where: str) -> None:
    note(where, "began")
    try:
        while True:
            time.sleep(0.01)
    finally:
        note(where, "left")


@task
async def slow_at_first(where: str) -> str:
    note(where, "began")
    with redis.Redis.from_url(os.environ["REDIS_URL"]) as client:
        if client.llen(where) == 1:
            await asyncio.sleep(600)
    return "done"


@task
async def failing(code: str) -> None:
    raise TaskError(code, "It must fail.", {"why": "the test"})


@task(retry=[RetryOn(exceptions=(ConnectionError,), attempts=3, delay=0.1)])
async def flaky(where: str, fails: int) -> int:
    note(where, "began")
    with redis.Redis.from_url(os.environ["REDIS_URL"]) as client:
        tries = int(client.llen(where))
    if tries <= fails:
        raise ConnectionResetError("again")
    return tries


async def session() -> AsyncIterator[list[str]]:
    opened = ["open"]
    try:
        yield opened
    finally:
        note("session", "closed")


async def noted() -> None:
    note("session", "beside")


@task(dependencies=[Depends(noted)])
async def with_session(
    text: str,
    opened: Annotated[list[str], Depends(session)],
    identity: Annotated[Identity, Depends(current_identity)],
) -> list[str]:
    note("session", "ran")
    return [text, *opened, identity.channel]


@task
def counting(where: str, total: int) -> int:
    for number in range(1, total + 1):
        update_progress(number, total, f"at {number}")
    note(where, "counted")
    with redis.Redis.from_url(os.environ["REDIS_URL"]) as client:
        while client.llen(where) < 2:
            time.sleep(0.05)
    update_progress(100, message="all of them")
    return total


@task
async def talking(words: list[str]) -> None:
    for word in words:
        logger.warning("said %s", word)
        await asyncio.sleep(0)
    logger.debug("not kept")


async def hear(job: Job) -> None:
    note(f"heard-{job.name}", f"{job.status} {job.result}")
    with redis.Redis.from_url(os.environ["REDIS_URL"]) as client:
        if client.llen(f"heard-{job.name}") == 1:
            raise ConnectionError("not yet")


@task(on_end=hear)
async def heard(number: int) -> int:
    return number


@task(max_concurrent=2)
async def limited(where: str) -> None:
    note(where, "in")
    await asyncio.sleep(0.05)
    note(where, "out")


@task
async def crowded(where: str) -> None:
    note(where, "in")
    await asyncio.sleep(0.05)
    note(where, "out")


class Picture(BaseModel):
    width: int
    height: int


@task(name="jobs.resized", public=True)
async def resized(picture: Picture, by: float = 0.5) -> Picture:
    """Steps that can be watched."""
    for step in range(3):
        update_progress(step, 3)
        await asyncio.sleep(0.3)
    return Picture(width=int(picture.width * by), height=int(picture.height * by))
