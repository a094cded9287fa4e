"""Fills the queue of the contender that BENCH_* names: `pool_fill.py TASK NUMBER [ARGS]`."""

import asyncio
import sys
from typing import Any

from benchmarks import pool_contenders as contenders


async def fill(task: str, number: int, args: list[float]) -> None:
    there: Any = contenders
    if contenders.CONTENDER == "taskiq":
        await there.broker.startup()
        for _ in range(number):
            await there.taskiq_nap.kiq(*args)
        await there.broker.shutdown()
    elif contenders.CONTENDER == "arq":
        from arq.connections import RedisSettings, create_pool

        pool = await create_pool(RedisSettings.from_dsn(contenders.REDIS))
        for _ in range(number):
            await pool.enqueue_job(task, *args, _queue_name=contenders.QUEUE)
        await pool.aclose()
    else:
        for _ in range(number):
            there.app.send_task(task, args)


if __name__ == "__main__":
    asyncio.run(fill(sys.argv[1], int(sys.argv[2]), [float(each) for each in sys.argv[3:]]))
