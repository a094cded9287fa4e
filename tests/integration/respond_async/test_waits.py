"""Who waits for news of a request, apart from any request."""

import asyncio

from respond_async.waiting import Waits


async def nothing() -> None:
    return None


def test_two_event_loops_wait_and_close_for_themselves(redis_url: str) -> None:
    # As a test does that asks by itself while its app has a loop of its own.
    waits = Waits(redis_url)
    with asyncio.Runner() as one, asyncio.Runner() as other:
        for _ in range(2):
            for runner in (one, other):
                runner.run(waits.until("user.ann", "id", 0.05, nothing))
        other.run(asyncio.wait_for(waits.close(), 5))
        one.run(asyncio.wait_for(waits.close(), 5))
