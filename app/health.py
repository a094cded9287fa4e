"""`/livez` and `/readyz`: whether the process answers, and whether what it needs does.

Readiness asks Redis, the broker, and Redis for a sign of a worker; each with a deadline, at most
once a second however often it is asked itself.
"""

import asyncio
from collections.abc import Callable
from typing import Literal

from celery import Celery
from fastapi import APIRouter, Response
from pydantic import BaseModel
from redis.asyncio import Redis

from respond_async import Settings
from respond_async.heartbeat import seconds_since_worker
from ws_hub import connect_async
from ws_hub.readiness import Check, Readiness

__all__ = ["Health", "Ready", "health_router"]

_TIMEOUT_SECONDS = 2.5


class Health(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Ready(BaseModel):
    """Whether a request can be accepted now."""

    #: `degraded`: requests are accepted, and wait in Kafka for a worker.
    status: Literal["ok", "degraded", "unavailable"]
    #: "ok", or why not.
    checks: dict[str, str]


def health_router(settings: Settings, celery: Callable[[], Celery]) -> APIRouter:
    """The two endpoints.

    Args:
        settings: The Redis to ask, and how long a worker may be silent.
        celery: Gives the Celery application whose broker to ask; called when first asked.
    """
    checks = {"redis": _redis(settings), "broker": _broker(celery)}
    if settings.ready_worker_seconds:
        checks["worker"] = _worker(settings)
    # Without a worker requests are taken all the same, and lose nothing by waiting: to send
    # clients away would turn a backlog into an outage.
    dispensable = () if settings.ready_needs_worker else ("worker",)
    readiness = Readiness(checks, dispensable)
    router = APIRouter(tags=["health"])

    @router.get("/livez")
    async def livez() -> Health:
        """200 while the process answers; it asks nothing else, so a broken Redis restarts nobody."""
        return Health()

    @router.get("/readyz", responses={503: {"model": Ready}})
    async def readyz(response: Response) -> Ready:
        """200 if Redis and the broker answer, else 503; each with its reason."""
        report = await readiness.report()
        response.status_code = report.http_status
        response.headers["Cache-Control"] = "no-store"
        return Ready(status=report.status, checks=report.checks)

    return router


def _client(settings: Settings) -> Redis:
    # A connection for each check: none is left over to an event loop that has ended.
    return connect_async(
        settings.redis_url,
        socket_connect_timeout=_TIMEOUT_SECONDS,
        socket_timeout=_TIMEOUT_SECONDS,
    )


def _redis(settings: Settings) -> Check:
    async def check() -> None:
        async with _client(settings) as redis:
            await redis.ping()

    return check


def _worker(settings: Settings) -> Check:
    limit = settings.ready_worker_seconds

    async def check() -> None:
        async with _client(settings) as redis:
            seconds = await seconds_since_worker(redis, settings)
        if seconds is None:
            raise TimeoutError("no worker has been seen")
        if seconds > limit:
            raise TimeoutError(f"no worker was seen for {seconds:.0f} s (more than {limit:g} s)")

    return check


def _broker(celery: Callable[[], Celery]) -> Check:
    def connect() -> None:
        # One attempt, not kombu's series of them, and over before the deadline: the thread does
        # not outlive the question.
        with celery().connection_for_write(connect_timeout=_TIMEOUT_SECONDS) as connection:
            transport = connection.transport
            transport.close_connection(transport.establish_connection())

    async def check() -> None:
        await asyncio.to_thread(connect)

    return check
