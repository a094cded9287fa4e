"""Scripts that wait at one moment go to a real Redis together, and know nothing of each other."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

import pytest
import redis
import redis.asyncio
from redis.exceptions import ResponseError

from respond_async.scripts import SharedScripts
from tests.support.redis_server import RedisServer
from ws_hub import Script

T = TypeVar("T")

COUNT = Script("""
local function counted() return redis.call('incrby', KEYS[1], ARGV[1]) end
local number = counted()
if number == 3 then return nil end
if number == 4 then return {ARGV[2], KEYS[2]} end
return number
""")


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    # What is counted here nobody else is to add to: what tests before this one left behind, say.
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server.url


@pytest.fixture
def connection(redis_url: str) -> "redis.Redis":
    connection = redis.Redis.from_url(redis_url)
    connection.flushall()
    connection.config_resetstat()
    return connection


def served(redis_url: str, work: Callable[[SharedScripts], Awaitable[T]]) -> T:
    async def run() -> T:
        scripts = SharedScripts(lambda: redis.asyncio.Redis.from_url(redis_url))
        try:
            return await work(scripts)
        finally:
            await scripts.close()

    return asyncio.run(run())


async def counted(scripts: SharedScripts, *numbers: int) -> list[Any]:
    return await asyncio.gather(
        *(scripts.run(COUNT, [f"count:{n}", "other"], [n, "text"]) for n in numbers),
        return_exceptions=True,
    )


def test_each_gets_the_answer_of_its_own(connection: "redis.Redis", redis_url: str) -> None:
    numbers = range(250)
    answers = served(redis_url, lambda scripts: counted(scripts, *numbers))
    assert answers == [0, 1, 2, None, [b"text", b"other"], *numbers[5:]]
    stats: Any = connection.info("commandstats")
    calls = {
        name: stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("incrby", "evalsha")
    }
    assert calls["incrby"] == len(numbers)
    # Once for each hundred.
    assert calls["evalsha"] == 3


def test_one_that_fails_fails_alone(connection: "redis.Redis", redis_url: str) -> None:
    connection.set("count:2", "no number")
    first, failed, last = served(redis_url, lambda scripts: counted(scripts, 1, 2, 5))
    assert (first, last) == (1, 5)
    assert isinstance(failed, ResponseError)
    assert "not an integer" in str(failed)


def test_a_redis_that_has_forgotten_the_scripts_is_told_again(
    connection: "redis.Redis", redis_url: str
) -> None:
    async def work(scripts: SharedScripts) -> list[Any]:
        first = await counted(scripts, 1, 2)
        connection.script_flush()
        return first + await counted(scripts, 10, 20) + await counted(scripts, 30)

    assert served(redis_url, work) == [1, 2, 10, 20, 30]


def test_who_is_cancelled_takes_nobody_along(connection: "redis.Redis", redis_url: str) -> None:
    async def work(scripts: SharedScripts) -> list[Any]:
        runs = [scripts.run(COUNT, [f"count:{n}", "other"], [n, "text"]) for n in (1, 2, 5)]
        tasks = [asyncio.ensure_future(run) for run in runs]
        # Each of them waits from then on.
        await asyncio.sleep(0)
        tasks[1].cancel()
        async with asyncio.timeout(10):
            return await asyncio.gather(*tasks, return_exceptions=True)

    first, cancelled, last = served(redis_url, work)
    assert (first, last) == (1, 5)
    assert isinstance(cancelled, asyncio.CancelledError)


def test_while_redis_is_away_all_hear_of_it() -> None:
    answers = served("redis://127.0.0.1:1/0", lambda scripts: counted(scripts, 1, 2))
    assert all(isinstance(answer, redis.ConnectionError) for answer in answers)
