"""`GET /demo/sleep`: an endpoint that takes its time."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query

__all__ = ["router"]

router = APIRouter()


@router.get("/sleep")
async def sleep(seconds: Annotated[float, Query(ge=0, le=3600)] = 1.0) -> dict[str, float]:
    """Answers after so many seconds, 0 to 3600; it waits without holding a thread."""
    await asyncio.sleep(seconds)
    return {"slept_seconds": seconds}
