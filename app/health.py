"""`/livez` and `/readyz`: whether the process answers, and whether what it needs does.

Readiness asks Redis and the broker, each with a deadline, at most once a second however often it
is asked itself.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Literal

from celery import Celery
from fastapi import APIRouter, Response
from pydantic import BaseModel

from ws_hub import connect_async

__all__ = ["Check", "Health", "Readiness", "health_router"]

_DEADLINE_SECONDS = 3.0
_KEPT_SECONDS = 1.0

Check = Callable[[], Awaitable[None]]


class Health(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """Whether a request can be accepted now."""

    status: Literal["ok", "unavailable"]
    #: "ok", or why not.
    checks: dict[str, str]


def health_router(redis_url: str, celery: Callable[[], Celery]) -> APIRouter:
    """The two endpoints.

    Args:
        redis_url: The Redis to ask.
        celery: Gives the Celery application whose broker to ask; called when first asked.
    """
    return _router({"redis": _redis(redis_url), "broker": _broker(celery)})


def _router(checks: dict[str, Check]) -> APIRouter:
    router = APIRouter(tags=["health"])
    lock = asyncio.Lock()
    known: tuple[float, Readiness] | None = None

    @router.get("/livez")
    async def livez() -> Health:
        """200 while the process answers; it asks nothing else, so a broken Redis restarts nobody."""
        return Health()

    @router.get("/readyz", responses={503: {"model": Readiness}})
    async def readyz(response: Response) -> Readiness:
        """200 if Redis and the broker answer, else 503; each with its reason."""
        nonlocal known
        async with lock:
            if known is None or time.monotonic() - known[0] > _KEPT_SECONDS:
                known = (time.monotonic(), await _asked(checks))
        readiness = known[1]
        if readiness.status != "ok":
            response.status_code = 503
        response.headers["Cache-Control"] = "no-store"
        return readiness

    return router


async def _asked(checks: dict[str, Check]) -> Readiness:
    reasons = await asyncio.gather(*map(_reason, checks.values()))
    found = dict(zip(checks, reasons, strict=True))
    return Readiness(
        status="ok" if set(reasons) == {"ok"} else "unavailable",
        checks=found,
    )


async def _reason(check: Check) -> str:
    try:
        await asyncio.wait_for(check(), _DEADLINE_SECONDS)
    except TimeoutError:
        return f"no answer within {_DEADLINE_SECONDS:g} s"
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the reason
        return f"{type(error).__name__}: {error}"
    return "ok"


def _redis(url: str) -> Check:
    async def check() -> None:
        # A connection for each check: none is left over to an event loop that has ended.
        async with connect_async(url, socket_connect_timeout=_DEADLINE_SECONDS) as redis:
            await redis.ping()

    return check


def _broker(celery: Callable[[], Celery]) -> Check:
    def connect() -> None:
        # One attempt, not kombu's series of them, and over before the deadline: the thread does
        # not outlive the question.
        timeout = _DEADLINE_SECONDS - 0.5
        with celery().connection_for_write(connect_timeout=timeout) as connection:
            transport = connection.transport
            transport.close_connection(transport.establish_connection())

    async def check() -> None:
        await asyncio.to_thread(connect)

    return check
