"""A trivial endpoint, called as a replay calls it; and the bare loop to measure it against."""

import asyncio
import time

import httpx
from fastapi import FastAPI

app = FastAPI()
transport = httpx.ASGITransport(app)


@app.get("/")
async def trivial() -> dict[str, bool]:
    return {"ok": True}


async def call() -> str:
    """One request, its answer's body."""
    response = await transport.handle_async_request(httpx.Request("GET", "http://bench/"))
    assert isinstance(response.stream, httpx.AsyncByteStream)
    return b"".join([part async for part in response.stream]).decode()


def bare(number: int) -> float:
    """Seconds for that many calls, one after the other, with nothing around them."""

    async def run() -> None:
        for _ in range(number):
            await call()

    begin = time.perf_counter()
    asyncio.run(run())
    return time.perf_counter() - begin
