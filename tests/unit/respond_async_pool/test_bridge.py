"""A greenlet driven as a coroutine."""

import asyncio
import contextvars
from collections.abc import Callable

import pytest

from respond_async.pool.bridge import GreenletCoroutine, in_bridge, wait_in_bridge, wait_whatever

variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable")


def run(function: Callable[[], None]) -> None:
    async def main() -> None:
        await asyncio.get_running_loop().create_task(GreenletCoroutine(function, lambda e: e))

    asyncio.run(asyncio.wait_for(main(), 10))


def test_it_waits_on_the_loop_without_await() -> None:
    seen: list[object] = []

    async def value() -> str:
        await asyncio.sleep(0.01)
        return "value"

    def work() -> None:
        seen.append(in_bridge())
        seen.append(wait_in_bridge(value()))
        seen.append(wait_in_bridge(asyncio.gather(value(), value())))

    run(work)
    assert seen == [True, "value", ["value", "value"]]
    assert not in_bridge()


def test_an_exception_of_the_awaited_comes_out_where_it_waits() -> None:
    seen: list[str] = []

    async def fails() -> None:
        await asyncio.sleep(0)
        raise KeyError("gone")

    def work() -> None:
        with pytest.raises(KeyError):
            wait_in_bridge(fails())
        seen.append("went on")

    run(work)
    assert seen == ["went on"]


def test_a_cancellation_reaches_the_innermost_await() -> None:
    seen: list[str] = []

    async def inner() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            seen.append("inner")
            raise

    def work() -> None:
        try:
            wait_in_bridge(inner())
        except asyncio.CancelledError:
            seen.append("outer")

    async def main() -> None:
        task = asyncio.get_running_loop().create_task(GreenletCoroutine(work, lambda e: e))
        await asyncio.sleep(0.01)
        task.cancel()
        await task

    asyncio.run(main())
    assert seen == ["inner", "outer"]


def test_what_must_not_be_interrupted_ends_before_the_cancellation_is_heard() -> None:
    seen: list[object] = []

    def work() -> None:
        def begin(future: "asyncio.Future[object]") -> None:
            asyncio.get_running_loop().call_later(0.05, seen.append, "stored")
            asyncio.get_running_loop().call_later(0.06, future.set_result, None)

        try:
            wait_whatever(begin)
        except asyncio.CancelledError:
            seen.append("cancelled")

    async def main() -> None:
        task = asyncio.get_running_loop().create_task(GreenletCoroutine(work, lambda e: e))
        await asyncio.sleep(0.01)
        task.cancel()
        await task

    asyncio.run(main())
    assert seen == ["stored", "cancelled"]


def test_a_context_variable_set_in_a_coroutine_stays_the_tasks() -> None:
    seen: list[object] = []

    async def sets(value: int) -> None:
        variable.set(value)
        await asyncio.sleep(0)

    def work(value: int) -> None:
        wait_in_bridge(sets(value))
        seen.append((value, variable.get()))

    async def main() -> None:
        create = asyncio.get_running_loop().create_task
        await asyncio.gather(
            *(create(GreenletCoroutine(lambda n=n: work(n), lambda e: e)) for n in range(5))  # type: ignore[misc]
        )
        assert variable.get(None) is None

    asyncio.run(main())
    assert seen == [(n, n) for n in range(5)]


def test_a_task_cancelled_before_its_first_step_never_begins() -> None:
    seen: list[str] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        task = loop.create_task(GreenletCoroutine(lambda: seen.append("begun"), lambda e: e))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert seen == []
