"""`countdown`: the smallest job there is, and one that can be cancelled at leisure."""

import asyncio
from typing import Annotated

from pydantic import Field

from respond_async import task, update_progress

__all__ = ["countdown"]


@task(name="countdown", public=True)
async def countdown(seconds: Annotated[int, Field(ge=1, le=3600)] = 10) -> str:
    """Counts down, a second each, and says so."""
    for passed in range(seconds):
        update_progress(passed, seconds, f"{seconds - passed} s to go")
        await asyncio.sleep(1)
    return "liftoff"
