"""Tasks that are ended with their owner."""

import asyncio

from ws_hub.cancelling import cancel_all


async def loses_a_cancellation() -> None:
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        # As `asyncio.wait_for` may.
        await asyncio.sleep(60)


async def fails() -> None:
    raise ValueError("dropped")


def test_a_task_that_loses_a_cancellation_ends_all_the_same() -> None:
    async def cancelled() -> None:
        tasks = [asyncio.create_task(each()) for each in (loses_a_cancellation, fails)]
        await asyncio.sleep(0)
        async with asyncio.timeout(10):
            await cancel_all(tasks)
        assert all(task.done() for task in tasks)

    asyncio.run(cancelled())
