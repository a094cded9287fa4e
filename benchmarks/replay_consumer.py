"""The consumer that the project replaces, rebuilt: aiokafka, an AsyncClient, one at a time.

    python -m benchmarks.replay_consumer TOPIC NUMBER

Prints seconds from the first message to the last answer in Redis, and those of CPU.
"""

import asyncio
import json
import os
import sys
import time

import httpx
import redis.asyncio
from aiokafka import AIOKafkaConsumer

os.environ.setdefault("BENCH_QUEUE", "none")
os.environ.setdefault("BENCH_STARTED", os.devnull)

from benchmarks.replay_worker import app


async def consume(topic: str, number: int) -> tuple[float, float]:
    store = redis.asyncio.Redis.from_url(os.environ["BENCH_REDIS"])
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=os.environ["BENCH_KAFKA"],
        group_id=topic,
        auto_offset_reset="earliest",
    )
    await consumer.start()
    begun = cpu = 0.0
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://replay"
    ) as client:
        for _ in range(number):
            message = await consumer.getone()
            begun, cpu = begun or time.perf_counter(), cpu or time.process_time()
            asked = json.loads(message.value)
            answer = await client.request(
                asked["method"], asked["path"], headers=asked["headers"], content=asked["body"]
            )
            assert answer.status_code == 200
            envelope = {"status": answer.status_code, "response": answer.json()}
            await store.set(f"answer:{asked['id']}", json.dumps(envelope), ex=3600)
            told = json.dumps({"task_id": asked["id"], "status": "completed"})
            await store.publish(asked["channel"], told)
    took = time.perf_counter() - begun, time.process_time() - cpu
    await consumer.stop()
    await store.aclose()
    return took


if __name__ == "__main__":
    print(*asyncio.run(consume(sys.argv[1], int(sys.argv[2]))))
