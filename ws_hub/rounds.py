"""One round of work under way; what is asked for meanwhile is the next one."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

T = TypeVar("T")


class Rounds(Generic[T]):
    """What is asked for at one moment is done together.

    Args:
        do: Gives the answers to several, in their order; one that is an exception is raised for
            who asked. What it raises itself is everybody's.
        most: How many at a time.
    """

    def __init__(
        self, do: Callable[[list[T]], Awaitable[Sequence[Any]]], most: int = sys.maxsize
    ) -> None:
        self._do: Final = do
        self._most: Final = most
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: list[tuple[T, asyncio.Future[Any]]] = []
        self._running: asyncio.Task[None] | None = None

    def ask(self, asked: T) -> asyncio.Future[Any]:
        """The answer, to be awaited on the running loop."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            # An app may be run on another loop later: nobody awaits what the one before has left.
            self._loop, self._waiting, self._running = loop, [], None
        answer = loop.create_future()
        self._waiting.append((asked, answer))
        if self._running is None:
            self._running = loop.create_task(self._run())
        return answer

    async def _run(self) -> None:
        try:
            while self._waiting:
                batch = self._waiting[: self._most]
                del self._waiting[: self._most]
                await self._round(batch)
        finally:
            self._running = None

    async def _round(self, batch: list[tuple[T, asyncio.Future[Any]]]) -> None:
        given: Sequence[Any]
        try:
            given = await self._do([asked for asked, _ in batch])
        except Exception as error:  # noqa: BLE001 - it goes to who waits
            given = [error] * len(batch)
        for (_, answer), one in zip(batch, given, strict=True):
            if answer.done():
                continue
            if isinstance(one, Exception):
                answer.set_exception(one)
            else:
                answer.set_result(one)
